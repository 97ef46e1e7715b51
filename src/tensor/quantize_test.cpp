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

TEST(Quantize, FourBitsEqualGguf) {
  const std::vector<std::uint8_t> expected = {224, 70,  172, 242, 88,  189, 19,  121, 223, 53,  139,
                                              224, 70,  172, 242, 104, 242, 88,  190, 19,  121, 223,
                                              53,  155, 241, 71,  172, 2,   104, 206, 36,  138};
  std::vector<std::uint8_t> values(32);
  std::vector<Float16> scales(2);
  quantise_4_bit(sample(), values, scales);
  EXPECT_EQ(values, expected);
  EXPECT_EQ(scales[0].bits, 0x3640);
  EXPECT_EQ(scales[1].bits, 0x3e40);
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
  quantise_4_bit(elements, halves, scales);
  dequantise_4_bit(halves, scales, back);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    // The end opposite to the extreme is clamped at 7 steps, one short of symmetry.
    const float step = std::abs(to_float(scales[i / 32]));
    EXPECT_LE(std::abs(back[i] - elements[i]), step * 1.01f) << i;
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
    quantise_4_bit(elements, halves, scales);
    dequantise_4_bit(halves, scales, back);
    EXPECT_EQ(back, std::vector<float>(32, 0.0f));
  }
}

TEST(Quantize, RefusesWhatHasNoScale) {
  std::vector<Float16> scales(1);
  std::vector<std::int8_t> bytes(32);
  std::vector<std::uint8_t> halves(16);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 1e30f}) {
    std::vector<float> elements(32, 1.0f);
    elements[17] = bad;
    EXPECT_THROW(quantise_8_bit(elements, bytes, scales), Error);
    EXPECT_THROW(quantise_4_bit(elements, halves, scales), Error);
  }
}

TEST(Quantize, RefusesSizesThatDoNotFit) {
  std::vector<float> elements(64);
  std::vector<Float16> scales(2);
  std::vector<std::int8_t> bytes(64);
  std::vector<std::uint8_t> halves(32);
  const std::span<float> part(elements.data(), 40);
  EXPECT_THROW(quantise_8_bit(part, bytes, scales), Error);
  EXPECT_THROW(quantise_4_bit(part, halves, scales), Error);
  EXPECT_THROW(quantise_8_bit(elements, std::span(bytes).first(32), scales), Error);
  EXPECT_THROW(quantise_4_bit(elements, std::span(halves).first(16), scales), Error);
  EXPECT_THROW(dequantise_8_bit(bytes, std::span(scales).first(1), elements), Error);
  EXPECT_THROW(dequantise_4_bit(halves, scales, part), Error);
}

}  // namespace
}  // namespace mslt
