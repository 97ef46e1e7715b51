// Tests of the CPU's products in bf16, where the CPU has instructions for them.
#include "backend/cpu/gemm_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/philox.h"
#include "mslt/error.h"
#include "tensor/half.h"

namespace mslt {
namespace {

struct Stored {
  std::vector<float> values;
  std::int64_t stride;
  bool transposed;

  GemmMatrix view() const { return {values.data(), stride, transposed}; }
  float at(std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(transposed ? j * stride + i : i * stride + j)];
  }
  double rounded(std::int64_t i, std::int64_t j) const { return static_cast<double>(to_float(to_bfloat16(at(i, j)))); }
};

Stored random_matrix(std::int64_t rows, std::int64_t columns, std::int64_t gap, bool transposed, std::uint32_t number) {
  const std::int64_t stride = (transposed ? rows : columns) + gap;
  Stored result{std::vector<float>(static_cast<std::size_t>(stride * (transposed ? columns : rows))), stride,
                transposed};
  PhiloxStream random(4, 0, number);
  for (float& value : result.values) value = random.normal();
  return result;
}

class Bf16GemmTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!Bf16Gemm::available()) GTEST_SKIP() << "This CPU has neither AVX512-BF16 nor AMX, or this build no oneDNN.";
  }
};

TEST(Bf16Gemm, IsRefusedWithoutInstructions) {
  if (Bf16Gemm::available()) GTEST_SKIP() << "This CPU has the instructions.";
  EXPECT_THROW(Bf16Gemm(), Error);
}

TEST_F(Bf16GemmTest, MultipliesRoundedOperandsInEveryArrangement) {
  Bf16Gemm gemm;
  for (const std::int64_t m : {1, 7, 300}) {
    for (const std::int64_t n : {1, 33, 128}) {
      for (const std::int64_t k : {1, 5, 100}) {
        for (int flags = 0; flags < 16; ++flags) {
          const bool accumulate = (flags & 4) != 0;
          const std::int64_t gap = (flags & 8) != 0 ? 3 : 0;
          const Stored a = random_matrix(m, k, gap, (flags & 1) != 0, 1);
          const Stored b = random_matrix(k, n, gap, (flags & 2) != 0, 2);
          Stored c = random_matrix(m, n, gap, false, 3);
          const Stored before = c;
          if (!accumulate) c.values.assign(c.values.size(), std::numeric_limits<float>::quiet_NaN());
          gemm.multiply(m, n, k, a.view(), b.view(), c.values.data(), c.stride, accumulate);
          double error = 0.0;
          double norm = 0.0;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              double expected = accumulate ? static_cast<double>(before.at(i, j)) : 0.0;
              for (std::int64_t l = 0; l < k; ++l) expected += a.rounded(i, l) * b.rounded(l, j);
              error += std::pow(static_cast<double>(c.at(i, j)) - expected, 2);
              norm += expected * expected;
            }
          }
          ASSERT_LT(std::sqrt(error), 1e-6 * std::sqrt(norm)) << m << ' ' << n << ' ' << k << ' ' << flags;
        }
      }
    }
  }
  EXPECT_GT(gemm.bytes(), std::size_t{0});
}

TEST_F(Bf16GemmTest, GivesTheSameBitsForAnyThreadCount) {
  const int before = parallel_threads();
  for (const std::int64_t n : {128, 700}) {
    const Stored a = random_matrix(1301, 517, 0, true, 1);
    const Stored b = random_matrix(517, n, 0, false, 2);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
      set_parallel_threads(threads);
      Bf16Gemm gemm;
      results.emplace_back(static_cast<std::size_t>(1301 * n));
      gemm.multiply(1301, n, 517, a.view(), b.view(), results.back().data(), n, false);
      EXPECT_EQ(results.back(), results.front()) << n << ' ' << threads;
    }
  }
  set_parallel_threads(before);
}

}  // namespace
}  // namespace mslt
