// The measurement of a device's peak, on a device and a clock of known speed.
#include "profile/matmul_peak.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "backend/for_each_operation.h"

namespace mslt {
namespace {

class SizeOnlyBuffer final : public Buffer {
 public:
  SizeOnlyBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}
};

// Does nothing, at 2 TFLOP/s and 10 µs for each product, by a clock of its own.
class SteadyBackend final : public ForEachOperation<SteadyBackend> {
 public:
  template <class Op>
  void each(const Op& op) {
    const double flops = work_of(op).flops;
    largest = std::max(largest, flops);
    if (flops > 0.0) pending_ += flops / 2e12 + 1e-5;
  }
  const DeviceInfo& device() const override { return device_; }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return std::make_unique<SizeOnlyBuffer>(bytes, label);
  }
  void upload(const Tensor& /*destination*/, std::span<const std::byte> /*source*/) override {}
  void download(const Tensor& /*source*/, std::span<std::byte> /*destination*/) override {}
  void read_back(const Tensor& /*source*/, std::function<void(std::span<const std::byte>)> /*receive*/) override {}
  void submit() override {}
  // Work is done once somebody waits for it.
  void wait() override { now += std::exchange(pending_, 0.0); }
  void throttle(std::size_t /*in_flight*/) override {}

  double now = 100.0;
  double largest = 0.0;

 private:
  double pending_ = 0.0;
  DeviceInfo device_;
};

TEST(MatmulPeak, IsTheRateOfProductsLongEnoughToTime) {
  SteadyBackend backend;
  const double peak = measure_matmul_peak(backend, DType::bf16, 0.3, [&] { return backend.now; });
  // A product of 2048 takes 8.6 ms, to which its start adds a thousandth.
  EXPECT_EQ(backend.largest, 2.0 * 2048.0 * 2048.0 * 2048.0);
  EXPECT_NEAR(peak * (backend.largest / 2e12 + 1e-5), backend.largest, 1e-9 * backend.largest);
  EXPECT_NEAR(backend.now, 100.3, 0.1);
}

}  // namespace
}  // namespace mslt
