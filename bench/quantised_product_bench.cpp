// The CUDA driver's products of few rows with quantised weights at shapes of GPT-2 124M and Llamas of 1 and 8 B: GPU
// time with nothing in the cache, beside a copy that moves as many bytes as the weight has. Prints Markdown.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "backend/msl/drivers/cuda/device_memory.h"
#include "backend/msl/drivers/cuda/few_rows_product.h"
#include "backend/msl/drivers/cuda/quantised_product.h"
#include "mslt/error.h"

namespace mslt::bench {
namespace {

using namespace msl::cuda;

struct Size {
  std::uint32_t outputs;
  std::uint32_t inner;
};

constexpr std::uint32_t most_rows = 32;
// More than any GPU caches.
constexpr std::size_t flushed_bytes = std::size_t{256} << 20;

class Bench {
 public:
  explicit Bench(int repetitions) : repetitions_(repetitions) {
    check(prepare_quantised_products(), "preparing");
    check(cudaEventCreate(&begin_), "making an event");
    check(cudaEventCreate(&end_), "making an event");
    flushed_ = allocate_device(flushed_bytes);
  }
  ~Bench() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void run(const Size& size, std::uint32_t bits) {
    const std::size_t elements = std::size_t{size.outputs} * size.inner;
    const std::size_t weight_bytes = elements * bits / 8;
    const std::size_t scale_bytes = elements / 32 * (bits == 4 ? 4 : 2);
    const DeviceMemory weight = zeros(weight_bytes);
    const DeviceMemory scales = zeros(scale_bytes);
    const DeviceMemory in = zeros(std::size_t{most_rows} * size.inner * 2);
    const DeviceMemory out = zeros(std::size_t{most_rows} * size.outputs * 2);
    const std::size_t half = (weight_bytes + scale_bytes) / 2;
    const double copy =
        time([&] { check(cudaMemcpyAsync(flushed_.get(), weight.get(), half, cudaMemcpyDeviceToDevice), "copying"); });
    fmt::print("| {} | [{}, {}] | {:.1f} |", bits, size.outputs, size.inner, copy);
    for (std::uint32_t rows = 1; rows <= most_rows; rows *= 2) {
      QuantisedProduct product{.in = in.get(),
                               .weight = weight.get(),
                               .scales = scales.get(),
                               .out = out.get(),
                               .rows = rows,
                               .inner = size.inner,
                               .outputs = size.outputs,
                               .bits = bits};
      if (!product.plan()) {
        fmt::print(" |");
        continue;
      }
      const double own = time([&] { check(launch_quantised_product(product, DType::bf16, nullptr), "launching"); });
      fmt::print(" {:.1f}, {:.0f} % |", own, 100.0 * copy / own);
    }
    fmt::print("\n");
    std::fflush(stdout);
  }

 private:
  static DeviceMemory zeros(std::size_t bytes) {
    DeviceMemory memory = allocate_device(bytes);
    check(cudaMemset(memory.get(), 0, bytes), "filling memory");
    return memory;
  }

  // The median in microseconds, without the first, which may choose and load.
  double time(const std::function<void()>& work) const {
    std::vector<double> times;
    for (int i = 0; i <= repetitions_; ++i) {
      check(cudaMemsetAsync(flushed_.get(), i, flushed_bytes), "filling memory");
      check(cudaEventRecord(begin_), "recording an event");
      work();
      check(cudaEventRecord(end_), "recording an event");
      check(cudaEventSynchronize(end_), "waiting");
      float milliseconds = 0.0f;
      check(cudaEventElapsedTime(&milliseconds, begin_, end_), "reading a time");
      if (i > 0) times.push_back(static_cast<double>(milliseconds) * 1e3);
    }
    std::sort(times.begin(), times.end());
    return times.at(times.size() / 2);
  }

  int repetitions_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
  DeviceMemory flushed_;
};

int run(int argc, char** argv) {
  int repetitions = 15;
  CLI::App app{"Products of few rows with quantised weights on an NVIDIA GPU"};
  app.add_option("--repetitions", repetitions)->capture_default_str()->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!runs_few_rows_products()) {
      throw Error(ErrorKind::device, "There is no NVIDIA GPU of compute capability 9.0, which these products need.");
    }
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "asking for the GPU's properties");
    fmt::print("{}, bf16; in microseconds, and the share of the copy's speed\n\n", properties.name);
    fmt::print("| bits | weight | copy | 1 row | 2 | 4 | 8 | 16 | 32 |\n|---|---|---|---|---|---|---|---|---|\n");
    Bench bench(repetitions);
    for (const std::uint32_t bits : {8u, 4u}) {
      for (const Size& size : {Size{50304, 768}, Size{2304, 768}, Size{3072, 2048}, Size{2048, 2048}, Size{16384, 2048},
                               Size{2048, 8192}, Size{4096, 4096}, Size{28672, 4096}}) {
        bench.run(size, bits);
      }
    }
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace mslt::bench

int main(int argc, char** argv) {
  return mslt::bench::run(argc, argv);
}
