// Tests of quantisation against bytes computed by the Python package gguf.
#include "tensor/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/philox.h"
#include "mslt/error.h"

namespace mslt {
namespace {

// Two groups of multiples of 1/16; some are ties, and the first extreme is negative.
std::vector<float> sample() {
  std::vector<float> elements;
  for (int g = 0; g < 2; ++g) {
    for (int i = 0; i < 32; ++i) {
      elements.push_back(static_cast<float>((i * 37 + g * 11) % 101 - 50) / 16.0f * static_cast<float>(1 + 3 * g));
    }
  }
  return elements;
}

TEST(Quantize, EightBitsEqualGguf) {
  const std::vector<std::int8_t> expected = {-127, -33,  61,  -102, -8,  86,  -76, 18,   112, -51,  43,   -119, -25,
                                             69,   -94,  0,   94,   -69, 25,  119, -43,  51,  -112, -18,  76,   -86,
                                             8,    102,  -61, 33,   127, -36, -99, -5,   89,  -74,  20,   114,  -48,
                                             46,   -117, -23, 71,   -91, 3,   97,  -66,  28,  122,  -41,  53,   -109,
                                             -15,  79,   -84, 10,   104, -58, 36,  -127, -33, 61,   -102, -8};
  std::vector<std::int8_t> values(64);
  std::vector<Float16> scales(2);
  quantise_8_bit(sample(), values, scales);
  EXPECT_EQ(values, expected);
  EXPECT_EQ(scales[0].bits, 0x264d);
  EXPECT_EQ(scales[1].bits, 0x2e4d);
}

struct FourBits {
  explicit FourBits(const std::vector<float>& elements)
      : values(elements.size() / 2), factors(elements.size() / 16), meaning(elements.size()) {
    quantise_4_bit(elements, values, factors);
    dequantise_4_bit(values, factors, meaning);
  }

  std::vector<std::uint8_t> values;
  std::vector<Float16> factors;
  std::vector<float> meaning;
};

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

// Blocks of GGUF's Q4_1 keep their bits; those of Q4_0, whose minimum is -8 times a scale of either sign, their
// meaning.
TEST(Quantize, FourBitsOfGgufStayWhatTheyAre) {
  PhiloxStream stream(2, 0, 0);
  const auto uniform = [&](float low, float high) {
    return low + (high - low) * stream.uniform();
  };
  for (int block = 0; block < 200; ++block) {
    const bool has_minimum = block % 2 == 0;
    std::vector<std::uint8_t> values(16);
    for (std::uint8_t& pair : values) pair = static_cast<std::uint8_t>(uniform(0.0f, 256.0f));
    values[3] = has_minimum ? 0xf0 : 0x70;
    const float scale = to_float(to_float16(uniform(1e-3f, 0.1f))) * (block % 4 == 1 ? -1.0f : 1.0f);
    const float minimum = has_minimum ? uniform(-1.0f, 0.1f) : -8.0f * scale;
    const std::vector<Float16> factors = {to_float16(scale), to_float16(minimum)};
    std::vector<float> elements(32);
    dequantise_4_bit(values, factors, elements);
    const FourBits again(elements);
    EXPECT_EQ(again.meaning, elements) << block;
    if (!has_minimum) continue;
    EXPECT_EQ(again.values, values) << block;
    EXPECT_EQ(again.factors[0].bits, factors[0].bits) << block;
    EXPECT_EQ(again.factors[1].bits, factors[1].bits) << block;
  }
}

// Of normal numbers, a grid from end to end leaves 0.0062, and the best of some hundred 0.0049.
TEST(Quantize, FourBitsMinimiseTheSquaredError) {
  PhiloxStream stream(1, 0, 1);
  std::vector<float> elements(32 * 500);
  for (float& element : elements) element = stream.normal();
  const double error = squared_error(FourBits(elements).meaning, elements) / static_cast<double>(elements.size());
  EXPECT_LT(error, 0.0053);
}

// Far from the others, one element does not take the steps of all.
TEST(Quantize, FourBitsGiveUpPartOfAnOutlier) {
  std::vector<float> elements(32);
  for (std::size_t i = 0; i < 32; ++i) elements[i] = static_cast<float>(i % 16);
  elements[7] = 18.0f;
  const FourBits quantised(elements);
  EXPECT_LT(squared_error(quantised.meaning, elements), 31.0 * 0.12);
}

TEST(Quantize, RoundTripsWithinHalfAStep) {
  PhiloxStream stream(1, 0, 0);
  std::vector<float> elements(32 * 50);
  for (float& element : elements) element = stream.normal();
  std::vector<float> back(elements.size());
  std::vector<Float16> scales(50);
  std::vector<std::int8_t> bytes(elements.size());
  quantise_8_bit(elements, bytes, scales);
  dequantise_8_bit(bytes, scales, back);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    // Half a step, plus the rounding of the scale times up to 127.
    EXPECT_LE(std::abs(back[i] - elements[i]), to_float(scales[i / 32]) * (0.5f + 127.0f * 0x1p-11f + 1e-4f));
  }
  std::vector<std::uint8_t> halves(elements.size() / 2);
  std::vector<Float16> pairs(100);
  quantise_4_bit(elements, halves, pairs);
  dequantise_4_bit(halves, pairs, back);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    // Ends may lie outside the grid, for the others' sake.
    const float step = std::abs(to_float(pairs[i / 32 * 2]));
    EXPECT_LE(std::abs(back[i] - elements[i]), step * 2.0f) << i;
  }
}

TEST(Quantize, ZerosAndTinyValuesBecomeZeros) {
  for (const float value : {0.0f, 1e-40f, -1e-44f}) {
    const std::vector<float> elements(32, value);
    std::vector<float> back(32, 1.0f);
    std::vector<Float16> scales(1);
    std::vector<std::int8_t> bytes(32);
    std::vector<std::uint8_t> halves(16);
    quantise_8_bit(elements, bytes, scales);
    dequantise_8_bit(bytes, scales, back);
    EXPECT_EQ(back, std::vector<float>(32, 0.0f));
    back.assign(32, 1.0f);
    std::vector<Float16> pair(2);
    quantise_4_bit(elements, halves, pair);
    dequantise_4_bit(halves, pair, back);
    EXPECT_EQ(back, std::vector<float>(32, 0.0f));
  }
}

TEST(Quantize, RefusesWhatHasNoScale) {
  std::vector<Float16> scales(1);
  std::vector<std::int8_t> bytes(32);
  std::vector<std::uint8_t> halves(16);
  std::vector<Float16> pair(2);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 1e30f}) {
    std::vector<float> elements(32, 1.0f);
    elements[17] = bad;
    EXPECT_THROW(quantise_8_bit(elements, bytes, scales), Error);
    EXPECT_THROW(quantise_4_bit(elements, halves, pair), Error);
  }
}

TEST(Quantize, RefusesSizesThatDoNotFit) {
  std::vector<float> elements(64);
  std::vector<Float16> scales(2);
  std::vector<std::int8_t> bytes(64);
  std::vector<std::uint8_t> halves(32);
  const std::span<float> part(elements.data(), 40);
  EXPECT_THROW(quantise_8_bit(part, bytes, scales), Error);
  std::vector<Float16> pairs(4);
  EXPECT_THROW(quantise_4_bit(part, halves, pairs), Error);
  EXPECT_THROW(quantise_8_bit(elements, std::span(bytes).first(32), scales), Error);
  EXPECT_THROW(quantise_4_bit(elements, std::span(halves).first(16), pairs), Error);
  EXPECT_THROW(quantise_4_bit(elements, halves, scales), Error);
  EXPECT_THROW(dequantise_8_bit(bytes, std::span(scales).first(1), elements), Error);
  EXPECT_THROW(dequantise_4_bit(halves, pairs, part), Error);
}

}  // namespace
}  // namespace mslt
