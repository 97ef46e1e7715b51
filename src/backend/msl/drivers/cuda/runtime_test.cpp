// Tests of the metal:: library in CUDA C++: conversions and maps on the host, the rest on the GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "backend/msl/drivers/cuda/runtime_probe.h"
#include "base/philox.h"
#include "tensor/half.h"

namespace mslt::msl::cuda::probe {
namespace {

class CudaRuntimeOnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_gpu()) GTEST_SKIP() << "there is no NVIDIA GPU";
  }
};

// Everything near the values of 16-bit types: each of them, the middles between neighbours, and a little to either
// side.
std::vector<float> difficult_values() {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float as_half = to_float(Float16{static_cast<std::uint16_t>(bits)});
    const float as_bfloat = std::bit_cast<float>(bits << 16 | 0x8000u);
    for (const float value : {as_half, as_bfloat}) {
      if (std::isnan(value)) continue;
      for (const float near : {value, std::nextafterf(value, 1e38f), std::nextafterf(value, -1e38f)}) {
        values.push_back(near);
        // The middle between neighbouring halves differs from them in the first bit that a half drops.
        values.push_back(std::bit_cast<float>(std::bit_cast<std::uint32_t>(near) ^ 0x1000u));
      }
    }
  }
  std::erase_if(values, [](float value) { return std::isnan(value); });
  return values;
}

void expect_rounding(const std::vector<float>& values, const std::vector<std::uint16_t>& halves,
                     const std::vector<std::uint16_t>& bfloats) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(halves[i], to_float16(values[i]).bits) << values[i];
    ASSERT_EQ(bfloats[i], to_bfloat16(values[i]).bits) << values[i];
  }
}

TEST(CudaRuntime, ConversionsOnTheHostRoundToNearestEven) {
  const std::vector<float> values = difficult_values();
  std::vector<std::uint16_t> halves;
  std::vector<std::uint16_t> bfloats;
  for (const float value : values) {
    halves.push_back(half_bits(value));
    bfloats.push_back(bfloat_bits(value));
  }
  expect_rounding(values, halves, bfloats);
}

TEST(CudaRuntime, SixteenBitsBecomeFloatsExactly) {
  for (std::uint32_t i = 0; i < 0x10000u; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float as_half = to_float(Float16{bits});
    const float as_bfloat = to_float(BFloat16{bits});
    ASSERT_EQ(std::isnan(half_value(bits)), std::isnan(as_half));
    ASSERT_EQ(std::isnan(bfloat_value(bits)), std::isnan(as_bfloat));
    if (!std::isnan(as_half)) {
      ASSERT_EQ(half_value(bits), as_half);
    }
    if (!std::isnan(as_bfloat)) {
      ASSERT_EQ(bfloat_value(bits), as_bfloat);
    }
  }
}

TEST(CudaRuntime, MatricesAreSpreadAsTheRuleSays) {
  for (std::uint32_t lane = 0; lane < 32; ++lane) {
    const std::uint32_t q = lane / 4;
    EXPECT_EQ(matrix_row(lane), (q & 4) + lane / 2 % 4);
    EXPECT_EQ(matrix_column(lane), (q & 2) * 2 + lane % 2 * 2);
    EXPECT_EQ(matrix_lane(matrix_row(lane), matrix_column(lane)), lane);
    EXPECT_EQ(matrix_lane(matrix_row(lane), matrix_column(lane) + 1), lane);
  }
}

TEST_F(CudaRuntimeOnGpu, ConversionsRoundToNearestEven) {
  const std::vector<float> values = difficult_values();
  expect_rounding(values, half_bits_on_gpu(values), bfloat_bits_on_gpu(values));
}

float rounded(Element element, float value) {
  switch (element) {
    case Element::f32:
      return value;
    case Element::f16:
      return to_float(to_float16(value));
    case Element::bf16:
      return to_float(to_bfloat16(value));
  }
  return value;
}

TEST_F(CudaRuntimeOnGpu, ProductsEqualTheirDefinition) {
  PhiloxStream stream(3, 0, 0);
  for (const Element element : {Element::f32, Element::f16, Element::bf16}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        Square a;
        Square b;
        Square c;
        for (std::size_t i = 0; i < 64; ++i) {
          a[i] = rounded(element, stream.normal());
          b[i] = rounded(element, stream.normal());
          c[i] = stream.normal();
        }
        const Square d = product(element, a, b, c, transpose_a, transpose_b);
        for (std::size_t row = 0; row < 8; ++row) {
          for (std::size_t column = 0; column < 8; ++column) {
            double sum = c[row * 8 + column];
            double size = std::fabs(sum);
            for (std::size_t k = 0; k < 8; ++k) {
              const double term = static_cast<double>(a[transpose_a ? k * 8 + row : row * 8 + k]) *
                                  b[transpose_b ? column * 8 + k : k * 8 + column];
              sum += term;
              size += std::fabs(term);
            }
            ASSERT_NEAR(d[row * 8 + column], sum, size * 5e-7)
                << "type " << static_cast<int>(element) << " row " << row << " column " << column;
          }
        }
      }
    }
  }
}

TEST_F(CudaRuntimeOnGpu, LanesGetWhatTheOperationsPromise) {
  Lanes values;
  for (std::size_t i = 0; i < 32; ++i) values[i] = static_cast<float>((i * 7) % 32) / 16.0f + 0.0625f;
  const SimdResults results = simd_operations(values);
  // A butterfly of sums, lanes that are 16 apart first.
  Lanes sums = values;
  Lanes products = values;
  for (std::size_t apart = 16; apart > 0; apart /= 2) {
    const Lanes old_sums = sums;
    const Lanes old_products = products;
    for (std::size_t i = 0; i < 32; ++i) {
      sums[i] = old_sums[i] + old_sums[i ^ apart];
      products[i] = old_products[i] * old_products[i ^ apart];
    }
  }
  float before = 0.0f;
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(results.sum[i], sums[0]);
    EXPECT_EQ(results.product[i], products[0]);
    EXPECT_EQ(results.max[i], *std::max_element(values.begin(), values.end()));
    EXPECT_EQ(results.min[i], *std::min_element(values.begin(), values.end()));
    EXPECT_EQ(results.xor_5[i], values[i ^ 5]);
    EXPECT_EQ(results.up_3[i], values[i < 3 ? i : i - 3]);
    EXPECT_EQ(results.down_3[i], values[i + 3 < 32 ? i + 3 : i]);
    EXPECT_EQ(results.from_7[i], values[7]);
    // Sixteenths add up without rounding.
    EXPECT_EQ(results.exclusive[i], before);
    before += values[i];
    EXPECT_EQ(results.inclusive[i], before);
  }
}

TEST_F(CudaRuntimeOnGpu, IntegersAreReducedAlikeInAllLanes) {
  std::array<std::uint32_t, 32> values{};
  PhiloxStream stream(4, 0, 0);
  for (std::uint32_t& value : values) value = static_cast<std::uint32_t>(stream.below(1u << 31)) | 64u;
  const IntegerResults results = integer_operations(values);
  EXPECT_EQ(results.agree, 1u);
  EXPECT_EQ(results.sum, std::accumulate(values.begin(), values.end(), 0u));
  EXPECT_EQ(results.max, *std::max_element(values.begin(), values.end()));
  EXPECT_EQ(results.min, *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(results.bit_and, std::reduce(values.begin(), values.end(), ~0u, std::bit_and<>()));
  EXPECT_EQ(results.bit_or, std::reduce(values.begin(), values.end(), 0u, std::bit_or<>()));
  EXPECT_EQ(results.bit_xor, std::reduce(values.begin(), values.end(), 0u, std::bit_xor<>()));
}

}  // namespace
}  // namespace mslt::msl::cuda::probe
