// The CPU's vector functions against double arithmetic, over densely sampled floats.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "../tests/backend/math_test.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once per target.
#include <hwy/highway.h>

#include <cstdint>

#include "backend/cpu/lanes-inl.h"
#include "backend/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

void test_exp(const float* in, float* out, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(exp(d, hn::LoadU(d, in + i)), d, out + i); });
}

void test_sigmoid(const float* in, float* out, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(sigmoid(d, hn::LoadU(d, in + i)), d, out + i); });
}

void test_gelu(const float* in, float* out, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(gelu(d, hn::LoadU(d, in + i)), d, out + i); });
}

void test_gelu_derivative(const float* in, float* out, std::int64_t n) {
  for_lanes(n,
            [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(gelu_derivative(d, hn::LoadU(d, in + i)), d, out + i); });
}

void test_gelu_erf(const float* in, float* out, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(gelu_erf(d, hn::LoadU(d, in + i)), d, out + i); });
}

void test_gelu_erf_derivative(const float* in, float* out, std::int64_t n) {
  for_lanes(n, [=](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(gelu_erf_derivative(d, hn::LoadU(d, in + i)), d, out + i); });
}

void test_hyperbolic_tangent(const float* in, float* out, std::int64_t n) {
  for_lanes(
      n, [=](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(hyperbolic_tangent(d, hn::LoadU(d, in + i)), d, out + i); });
}

bool fuses() {
  return HWY_NATIVE_FMA != 0;
}

void test_cos_sin(const float* in, float* cosine, float* sine, std::int64_t n) {
  const hn::Rebind<float, hn::ScalableTag<double>> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i + lanes <= n; i += lanes) {
    auto c = hn::Zero(d);
    auto s = c;
    cos_sin(d, hn::LoadU(d, in + i), c, s);
    hn::StoreU(c, d, cosine + i);
    hn::StoreU(s, d, sine + i);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace mslt {
namespace {

HWY_EXPORT(test_exp);
HWY_EXPORT(test_sigmoid);
HWY_EXPORT(test_gelu);
HWY_EXPORT(test_gelu_derivative);
HWY_EXPORT(test_gelu_erf);
HWY_EXPORT(test_gelu_erf_derivative);
HWY_EXPORT(test_hyperbolic_tangent);
HWY_EXPORT(fuses);
HWY_EXPORT(test_cos_sin);

// How far apart the checked floats are. Sanitizers look for other faults than inaccuracy, and slowly.
constexpr std::uint32_t dense = sizeof(MSLT_SANITIZED) > 1 ? 49'999 : 997;

// The units in the last place between an exact value and its float; for subnormals, units of the least normal value.
double ulps(float actual, double exact) {
  const double magnitude = std::max(std::abs(exact), 0x1p-126);
  return std::abs(static_cast<double>(actual) - exact) / std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

// Every `stride`-th float of [low, high], padded to fill vectors.
std::vector<float> floats_between(float low, float high, std::uint32_t stride) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 0x7f800000u; bits += stride) {
    const float value = std::bit_cast<float>(bits);
    if (value <= high) values.push_back(value);
    if (-value >= low) values.push_back(-value);
  }
  while (values.size() % 16 != 0) values.push_back(1.0f);
  return values;
}

// Runs `check` for every compiled instruction set that this processor has.
template <class Check>
void for_each_target(const Check& check) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// The largest error in ulp of `function`'s outputs against `exact`.
template <class Function, class Exact>
double largest_error(const std::vector<float>& in, const Function& function, const Exact& exact) {
  std::vector<float> out(in.size());
  function(in.data(), out.data(), static_cast<std::int64_t>(in.size()));
  double largest = 0.0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    largest = std::max(largest, ulps(out[i], exact(static_cast<double>(in[i]))));
  }
  return largest;
}

TEST(VectorMath, ExpIsAccurate) {
  for_each_target([] {
    const double error = largest_error(
        floats_between(-104.0f, 88.72f, dense), [](auto... arguments) { HWY_DYNAMIC_DISPATCH(test_exp)(arguments...); },
        [](double x) { return std::exp(x); });
    testing::Test::RecordProperty("exp_ulp", std::to_string(error));
    EXPECT_LT(error, 1.1);
  });
}

TEST(VectorMath, ExpMeetsItsLimits) {
  for_each_target([] {
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> in = {-infinity, -104.5f, -1e30f, 88.8f, 1e30f, infinity, 0.0f, std::nanf("")};
    std::vector<float> out(in.size());
    HWY_DYNAMIC_DISPATCH(test_exp)(in.data(), out.data(), static_cast<std::int64_t>(in.size()));
    EXPECT_EQ(std::vector<float>(out.begin(), out.end() - 1),
              (std::vector<float>{0.0f, 0.0f, 0.0f, infinity, infinity, infinity, 1.0f}));
    EXPECT_TRUE(std::isnan(out.back()));
  });
}

TEST(VectorMath, SigmoidIsAccurate) {
  for_each_target([] {
    const double error = largest_error(
        floats_between(-87.0f, 100.0f, dense),
        [](auto... arguments) { HWY_DYNAMIC_DISPATCH(test_sigmoid)(arguments...); },
        [](double x) { return 1.0 / (1.0 + std::exp(-x)); });
    testing::Test::RecordProperty("sigmoid_ulp", std::to_string(error));
    EXPECT_LT(error, 2.5);
  });
}

TEST(VectorMath, GeluIsAccurate) {
  for_each_target([] {
    const std::vector<float> in = floats_between(-5.0f, 30.0f, dense);
    std::vector<float> out(in.size());
    HWY_DYNAMIC_DISPATCH(test_gelu)(in.data(), out.data(), static_cast<std::int64_t>(in.size()));
    for (std::size_t i = 0; i < in.size(); ++i) {
      const auto x = static_cast<double>(in[i]);
      const double twice = 2.0 * std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
      const double allowed = 3.0 + (x < 0.0 ? 2.0 * std::abs(twice) : 0.0);
      ASSERT_LT(ulps(out[i], x / (1.0 + std::exp(-twice))), allowed) << x;
    }
  });
}

TEST(VectorMath, GeluDerivativeIsAccurate) {
  for_each_target([] {
    const std::vector<float> in = floats_between(-std::numeric_limits<float>::max(), 3e38f, dense);
    std::vector<float> out(in.size());
    HWY_DYNAMIC_DISPATCH(test_gelu_derivative)(in.data(), out.data(), static_cast<std::int64_t>(in.size()));
    double largest = 0.0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const double x = std::clamp(static_cast<double>(in[i]), -50.0, 50.0);
      const double s = 1.0 / (1.0 + std::exp(-2.0 * std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
      const double slope = 2.0 * std::sqrt(2.0 / M_PI) * (1.0 + 3.0 * 0.044715 * x * x);
      largest = std::max(largest, std::abs(static_cast<double>(out[i]) - (s + x * s * (1.0 - s) * slope)));
    }
    testing::Test::RecordProperty("gelu_derivative_error", std::to_string(largest * 1e6));
    EXPECT_LT(largest, 1e-6);
  });
}

TEST(VectorMath, ExactGeluIsAccurate) {
  for_each_target([] {
    const bool fuses = HWY_DYNAMIC_DISPATCH(fuses)();
    const std::vector<float> in = floats_between(-12.5f, 30.0f, dense);
    std::vector<float> out(in.size());
    HWY_DYNAMIC_DISPATCH(test_gelu_erf)(in.data(), out.data(), static_cast<std::int64_t>(in.size()));
    double largest = 0.0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const auto x = static_cast<double>(in[i]);
      const double error = ulps(out[i], 0.5 * x * std::erfc(-x / std::sqrt(2.0)));
      ASSERT_LT(error, 7.0 + (fuses || x > 0.0 ? 0.0 : x * x / 2.0)) << x;
      largest = std::max(largest, error);
    }
    testing::Test::RecordProperty("gelu_erf_ulp", std::to_string(largest));
  });
}

TEST(VectorMath, ExactGeluDerivativeIsAccurate) {
  for_each_target([] {
    const std::vector<float> in = floats_between(-std::numeric_limits<float>::max(), 3e38f, dense);
    std::vector<float> out(in.size());
    HWY_DYNAMIC_DISPATCH(test_gelu_erf_derivative)(in.data(), out.data(), static_cast<std::int64_t>(in.size()));
    double largest = 0.0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const double x = std::clamp(static_cast<double>(in[i]), -50.0, 50.0);
      const double exact = 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * M_PI);
      largest = std::max(largest, std::abs(static_cast<double>(out[i]) - exact));
    }
    testing::Test::RecordProperty("gelu_erf_derivative_error", std::to_string(largest * 1e6));
    EXPECT_LT(largest, 5e-7);
  });
}

TEST(VectorMath, HyperbolicTangentIsAccurate) {
  for_each_target([] {
    const double error = largest_error(
        floats_between(-50.0f, 50.0f, dense),
        [](auto... arguments) { HWY_DYNAMIC_DISPATCH(test_hyperbolic_tangent)(arguments...); },
        [](double x) { return std::tanh(x); });
    testing::Test::RecordProperty("tanh_ulp", std::to_string(error));
    EXPECT_LT(error, 3.0);
  });
}

TEST(VectorMath, CosSinAreAccurate) {
  for_each_target([] {
    const std::vector<float> in = floats_between(-16777215.0f, 16777215.0f, 2 * dense);
    std::vector<float> cosine(in.size());
    std::vector<float> sine(in.size());
    HWY_DYNAMIC_DISPATCH(test_cos_sin)(in.data(), cosine.data(), sine.data(), static_cast<std::int64_t>(in.size()));
    double largest = 0.0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const auto x = static_cast<double>(in[i]);
      largest = std::max({largest, std::abs(static_cast<double>(cosine[i]) - std::cos(x)),
                          std::abs(static_cast<double>(sine[i]) - std::sin(x))});
    }
    testing::Test::RecordProperty("cos_sin_error", std::to_string(largest * 0x1p24));
    EXPECT_LT(largest, 1.5 * 0x1p-24);
  });
}

}  // namespace
}  // namespace mslt
#endif
