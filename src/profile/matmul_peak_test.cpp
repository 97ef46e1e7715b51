// Tests of the peak of matrix products, by a clock that products move.
#include "profile/matmul_peak.h"

#include <gtest/gtest.h>

#include "backend/simulated_device.h"

namespace mslt {
namespace {

// The peak of a device that multiplies at `rate` FLOP/s, and starts a product after `start` seconds.
double peak_of(double rate, double start, DType dtype = DType::f32) {
  double now = 5.0;
  SimulatedDevice device([&](std::string_view operation, DType ran, const Work& work) {
    if (operation != MatmulForward::name) return;
    EXPECT_EQ(ran, dtype);
    now += start + work.flops / rate;
  });
  return measure_matmul_peak(device, dtype, 0.05, [&] { return now; });
}

TEST(MatmulPeak, IsTheRateOfTheDevice) {
  for (const double rate : {2e10, 3e12, 8e14}) EXPECT_NEAR(peak_of(rate, 0.0), rate, 1e-6 * rate);
  EXPECT_NEAR(peak_of(8e14, 0.0, DType::bf16), 8e14, 1e9);
}

// Products are large enough that starting them takes little of the time.
TEST(MatmulPeak, IsHardlyTouchedByWhatAStartTakes) {
  for (const double rate : {2e10, 3e12, 4e14}) {
    EXPECT_GT(peak_of(rate, 1e-5), 0.97 * rate);
    EXPECT_LT(peak_of(rate, 1e-5), rate);
  }
}

}  // namespace
}  // namespace mslt
