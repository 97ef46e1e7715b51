// Checks of matrix products by any library, which its tests give as multiply(m, n, k, a, b, c, c_stride, accumulate).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "backend/cpu/gemm.h"
#include "base/parallel.h"
#include "base/philox.h"

namespace mslt {

struct StoredMatrix {
  std::vector<float> values;
  std::int64_t stride;
  bool transposed;

  GemmMatrix view() const { return {values.data(), stride, transposed}; }
  float at(std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(transposed ? j * stride + i : i * stride + j)];
  }
};

inline StoredMatrix random_matrix(std::int64_t rows, std::int64_t columns, std::int64_t gap, bool transposed,
                                  std::uint32_t number) {
  const std::int64_t stride = (transposed ? rows : columns) + gap;
  StoredMatrix result{std::vector<float>(static_cast<std::size_t>(stride * (transposed ? columns : rows))), stride,
                      transposed};
  PhiloxStream random(3, 0, number);
  for (float& value : result.values) value = random.normal();
  return result;
}

// Products of up to `most_rows` rows, transposed or not, with gaps or not, added or not. operand(x) is what the library
// makes of an element x of an operand.
template <class Multiply, class Operand>
void check_every_arrangement(std::int64_t most_rows, const Multiply& multiply, const Operand& operand) {
  for (const std::int64_t m : {std::int64_t{1}, std::int64_t{7}, most_rows}) {
    for (const std::int64_t n : {1, 33, 128}) {
      for (const std::int64_t k : {1, 5, 100}) {
        for (int flags = 0; flags < 16; ++flags) {
          const bool accumulate = (flags & 4) != 0;
          const std::int64_t gap = (flags & 8) != 0 ? 3 : 0;
          const StoredMatrix a = random_matrix(m, k, gap, (flags & 1) != 0, 1);
          const StoredMatrix b = random_matrix(k, n, gap, (flags & 2) != 0, 2);
          StoredMatrix c = random_matrix(m, n, gap, false, 3);
          const StoredMatrix before = c;
          // Overwritten memory is not read.
          if (!accumulate) c.values.assign(c.values.size(), std::numeric_limits<float>::quiet_NaN());
          multiply(m, n, k, a.view(), b.view(), c.values.data(), c.stride, accumulate);
          double error = 0.0;
          double norm = 0.0;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              double expected = accumulate ? static_cast<double>(before.at(i, j)) : 0.0;
              for (std::int64_t l = 0; l < k; ++l) {
                expected += static_cast<double>(operand(a.at(i, l))) * static_cast<double>(operand(b.at(l, j)));
              }
              error += std::pow(static_cast<double>(c.at(i, j)) - expected, 2);
              norm += expected * expected;
            }
          }
          ASSERT_LT(std::sqrt(error), 1e-6 * std::sqrt(norm)) << m << ' ' << n << ' ' << k << ' ' << flags;
        }
      }
    }
  }
}

// The bits of products with `m` rows do not depend on the number of threads.
template <class Multiply>
void check_thread_counts(std::int64_t m, const Multiply& multiply) {
  const int before = parallel_threads();
  for (const std::int64_t n : {128, 700}) {
    const StoredMatrix a = random_matrix(m, 517, 0, true, 1);
    const StoredMatrix b = random_matrix(517, n, 0, false, 2);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
      set_parallel_threads(threads);
      results.emplace_back(static_cast<std::size_t>(m * n));
      multiply(m, n, 517, a.view(), b.view(), results.back().data(), n, false);
      EXPECT_EQ(results.back(), results.front()) << n << ' ' << threads;
    }
  }
  set_parallel_threads(before);
}

}  // namespace mslt
