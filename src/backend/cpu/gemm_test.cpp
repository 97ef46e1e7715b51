// Tests of the library behind the CPU backend's matrix products; built once with each installed library.
#include "backend/cpu/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "base/philox.h"

namespace mslt {
namespace {

struct Stored {
  std::vector<float> values;
  std::int64_t stride;
  bool transposed;

  GemmMatrix view() const { return {values.data(), stride, transposed}; }
  double at(std::int64_t i, std::int64_t j) const {
    return static_cast<double>(values[static_cast<std::size_t>(transposed ? j * stride + i : i * stride + j)]);
  }
};

Stored random_matrix(std::int64_t rows, std::int64_t columns, std::int64_t gap, bool transposed, std::uint32_t number) {
  const std::int64_t stride = (transposed ? rows : columns) + gap;
  Stored result{std::vector<float>(static_cast<std::size_t>(stride * (transposed ? columns : rows))), stride,
                transposed};
  PhiloxStream random(3, 0, number);
  for (float& value : result.values) value = random.normal();
  return result;
}

TEST(Gemm, MultipliesEveryArrangement) {
  for (const std::int64_t m : {1, 7, 64}) {
    for (const std::int64_t n : {1, 33, 128}) {
      for (const std::int64_t k : {1, 5, 100}) {
        for (int flags = 0; flags < 16; ++flags) {
          const bool accumulate = (flags & 4) != 0;
          const std::int64_t gap = (flags & 8) != 0 ? 3 : 0;
          const Stored a = random_matrix(m, k, gap, (flags & 1) != 0, 1);
          const Stored b = random_matrix(k, n, gap, (flags & 2) != 0, 2);
          Stored c = random_matrix(m, n, gap, false, 3);
          const Stored before = c;
          // Overwritten memory is not read.
          if (!accumulate) c.values.assign(c.values.size(), std::numeric_limits<float>::quiet_NaN());
          gemm(m, n, k, a.view(), b.view(), c.values.data(), c.stride, accumulate);
          double error = 0.0;
          double norm = 0.0;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              double expected = accumulate ? before.at(i, j) : 0.0;
              for (std::int64_t l = 0; l < k; ++l) expected += a.at(i, l) * b.at(l, j);
              error += std::pow(c.at(i, j) - expected, 2);
              norm += expected * expected;
            }
          }
          ASSERT_LT(std::sqrt(error), 1e-6 * std::sqrt(norm)) << m << ' ' << n << ' ' << k << ' ' << flags;
        }
      }
    }
  }
}

TEST(Gemm, GivesTheSameBitsEveryTime) {
  const Stored a = random_matrix(301, 517, 0, false, 1);
  const Stored b = random_matrix(517, 259, 0, true, 2);
  std::vector<float> first(301 * 259);
  gemm(301, 259, 517, a.view(), b.view(), first.data(), 259, false);
  for (int i = 0; i < 20; ++i) {
    std::vector<float> again(first.size());
    gemm(301, 259, 517, a.view(), b.view(), again.data(), 259, false);
    ASSERT_EQ(again, first);
  }
}

TEST(Gemm, GivesTheSameBitsForAnyThreadCount) {
  const int before = parallel_threads();
  for (const std::int64_t n : {128, 700}) {
    const Stored a = random_matrix(301, 517, 0, true, 1);
    const Stored b = random_matrix(517, n, 0, false, 2);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
      set_parallel_threads(threads);
      results.emplace_back(static_cast<std::size_t>(301 * n));
      gemm(301, n, 517, a.view(), b.view(), results.back().data(), n, false);
      EXPECT_EQ(results.back(), results.front()) << n << ' ' << threads;
    }
  }
  set_parallel_threads(before);
}

}  // namespace
}  // namespace mslt
