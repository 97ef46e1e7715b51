// Copies and reads that no cache holds.
#include "profile/bandwidth.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "base/parallel.h"

namespace mslt {
namespace {

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <int repeats, class Work>
double median_seconds(Work&& work) {
  std::array<double, repeats> seconds;
  for (double& one : seconds) one = seconds_of(work);
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[repeats / 2];
}

double copy_bandwidth(Backend& backend) {
  constexpr std::int64_t elements = std::int64_t{1} << 26;
  const auto source = backend.allocate(elements * 4, "bandwidth source");
  const auto destination = backend.allocate(elements * 4, "bandwidth destination");
  const Tensor from(*source, 0, DType::f32, Shape{elements});
  const Tensor to(*destination, 0, DType::f32, Shape{elements});
  // So many one after another that handing them over takes no part of the time.
  const auto copies = [&](int count) {
    for (int i = 0; i < count; ++i) backend.run(Copy{.out = to, .in = from});
    backend.wait();
  };
  copies(1);
  constexpr double long_enough = 0.01;
  const int count = std::clamp(static_cast<int>(long_enough / seconds_of([&] { copies(1); })), 1, 100);
  return 2.0 * 4.0 * static_cast<double>(elements) * count / median_seconds<5>([&] { copies(count); });
}

// Of a plain loop over host memory, on all threads: faster than a copy where writing costs more than reading.
double host_read_bandwidth(Backend& backend) {
  constexpr std::int64_t blocks = 256;
  constexpr std::int64_t block_bytes = std::int64_t{1} << 20;
  const auto memory = backend.allocate(blocks * block_bytes, "bandwidth source");
  const std::span words(reinterpret_cast<std::uint64_t*>(memory->host()), blocks * block_bytes / 8);
  std::fill(words.begin(), words.end(), 1);
  std::vector<std::uint64_t> sums(blocks);
  const double seconds = median_seconds<9>([&] {
    parallel_for(blocks, Cost{.bytes = block_bytes}, [&](std::int64_t i) {
      const auto block = words.subspan(static_cast<std::size_t>(i) * block_bytes / 8, block_bytes / 8);
      sums[static_cast<std::size_t>(i)] = std::accumulate(block.begin(), block.end(), std::uint64_t{0});
    });
    words[0] = sums[0];  // so that the loop is not left out
  });
  return static_cast<double>(blocks * block_bytes) / seconds;
}

}  // namespace

double measure_bandwidth(Backend& backend) {
  const double copied = copy_bandwidth(backend);
  return backend.device().backend == "cpu" ? std::max(copied, host_read_bandwidth(backend)) : copied;
}

}  // namespace mslt
