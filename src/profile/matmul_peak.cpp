// Timing a large matrix product.
#include "profile/matmul_peak.h"

#include <algorithm>
#include <memory>

namespace mslt {
namespace {

// Square matrices of one size.
struct Product {
  Product(Backend& on, DType dtype, std::int64_t size, const std::function<double()>& clock)
      : backend(on), now(clock), flops(2.0 * static_cast<double>(size * size * size)) {
    const auto bytes = static_cast<std::size_t>(size * size) * size_of(dtype);
    for (std::size_t i = 0; i < 3; ++i) {
      buffers[i] = backend.allocate(bytes, "matrix of the peak measurement");
      tensors[i] = Tensor(*buffers[i], 0, dtype, {size, size});
    }
    // Ordinary numbers: zeros would draw less power and flatter the clock.
    backend.run(Fill{.out = tensors[1], .value = 0.9f});
    backend.run(Fill{.out = tensors[2], .value = 0.01f});
    backend.wait();
  }
  // The seconds that `count` products take, one after another. They are recorded, since a device may choose better how
  // to compute what comes again and again.
  double time(int count) {
    const auto recording = backend.record([&] {
      for (int i = 0; i < count; ++i) {
        backend.run(MatmulForward{.out = tensors[0], .in = tensors[1], .weight = tensors[2]});
      }
    });
    const double begin = now();
    backend.replay(*recording);
    backend.submit();
    backend.wait();
    return now() - begin;
  }
  Backend& backend;
  const std::function<double()>& now;
  double flops;
  std::unique_ptr<Buffer> buffers[3];
  Tensor tensors[3];
};

}  // namespace

double measure_matmul_peak(Backend& backend, DType dtype, double seconds, const std::function<double()>& now) {
  constexpr std::int64_t largest = 4096;
  constexpr double long_enough = 0.004;
  auto product = std::make_unique<Product>(backend, dtype, 512, now);
  for (std::int64_t size = 1024;; size *= 2) {
    product->time(1);
    if (product->time(1) >= long_enough || size > largest) break;
    product = nullptr;
    product = std::make_unique<Product>(backend, dtype, size, now);
  }
  const double once = product->time(1);
  const int count = std::clamp(static_cast<int>(0.02 / std::max(once, 1e-6)), 1, 1000);
  double best = 0.0;
  const double begin = now();
  do {
    best = std::max(best, count * product->flops / product->time(count));
  } while (now() - begin < seconds);
  return best;
}

}  // namespace mslt
