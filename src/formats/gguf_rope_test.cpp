// Tests of recognising RoPE's scaling by its divisors.
#include "formats/gguf_rope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace mslt {
namespace {

// As llama.cpp's converter computes them.
std::vector<float> llama3(double theta, int head_size, double factor, double low, double high, double original) {
  std::vector<float> divisors;
  for (int i = 0; i < head_size; i += 2) {
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / head_size);
    const double share = std::clamp((original / wavelength - low) / (high - low), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1.0 / ((1.0 - share) / factor + share)));
  }
  return divisors;
}

TEST(GgufRopeTest, FindsTheSettingsOfLlama3) {
  struct Case {
    double theta;
    int head_size;
    double factor, high, original;
  };
  for (const Case& known :
       {Case{500000, 128, 8, 4, 8192}, Case{500000, 64, 32, 4, 8192}, Case{10000, 128, 4, 2.5, 2048}}) {
    const auto divisors = llama3(known.theta, known.head_size, known.factor, 1, known.high, known.original);
    const auto scaling = scaling_from_divisors(divisors, known.theta);
    ASSERT_TRUE(scaling);
    EXPECT_EQ(scaling->type, RopeScalingType::llama3);
    EXPECT_EQ(scaling->factor, known.factor);
    EXPECT_EQ(scaling->low_freq_factor, 1.0);
    EXPECT_EQ(scaling->high_freq_factor, known.high);
    EXPECT_EQ(static_cast<double>(scaling->original_max_positions), known.original);
  }
}

TEST(GgufRopeTest, FindsEqualSettingsOfOtherForms) {
  // Twice the factors at twice the length are the same divisors.
  const auto twice = scaling_from_divisors(llama3(500000, 128, 8, 2, 8, 16384), 500000);
  ASSERT_TRUE(twice);
  EXPECT_EQ(twice->original_max_positions, 8192);
  EXPECT_EQ(twice->high_freq_factor, 4.0);
  // One divisor alone between both ends.
  const auto one = scaling_from_divisors(llama3(1000, 8, 8, 1, 4, 24), 1000);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->original_max_positions, 24);
}

TEST(GgufRopeTest, FindsNoneAndLinear) {
  EXPECT_EQ(scaling_from_divisors(std::vector<float>(4, 1.0f), 10000)->type, RopeScalingType::none);
  const auto linear = scaling_from_divisors(std::vector<float>(4, 2.5f), 10000);
  ASSERT_TRUE(linear);
  EXPECT_EQ(linear->type, RopeScalingType::linear);
  EXPECT_EQ(linear->factor, 2.5);
}

TEST(GgufRopeTest, RefusesOtherDivisors) {
  auto bent = llama3(500000, 128, 8, 1, 4, 8192);
  bent[bent.size() / 2] *= 1.01f;
  EXPECT_FALSE(scaling_from_divisors(bent, 500000));
  EXPECT_FALSE(scaling_from_divisors(llama3(500000, 128, 8, 1, 4, 8192), 10000));
  EXPECT_FALSE(scaling_from_divisors({}, 10000));
  EXPECT_FALSE(scaling_from_divisors(std::vector<float>{1, NAN, 8}, 10000));
  EXPECT_FALSE(scaling_from_divisors(std::vector<float>{1, 8, INFINITY}, 10000));
  EXPECT_FALSE(scaling_from_divisors(std::vector<float>{0, 8, 8}, 10000));
  EXPECT_FALSE(scaling_from_divisors(std::vector<float>{1, 1, 8, 8}, 10000));
  EXPECT_FALSE(scaling_from_divisors(std::vector<float>{8, 4, 1}, 10000));
}

}  // namespace
}  // namespace mslt
