// Random weights for the tests of the operations that read them, plain and quantised.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/operations/linear.h"
#include "tests/backend/backend_under_test.h"

namespace mslt::test {

// A random weight of `dtype` with n rows of k, its scales and minima, and the values it represents. A quantised one
// starts so many elements, and its scales so many, after a multiple of 64 bytes.
struct TestWeight {
  TestWeight(Backend& backend, DType dtype, std::int64_t n, std::int64_t k, std::size_t shift = 0,
             std::size_t scale_shift = 0) {
    const bool quantised = dtype == DType::i8 || dtype == DType::u8;
    if (!quantised) {
      meaning = random_values(dtype, n * k, 2);
      values = upload(backend, dtype, {n, k}, meaning);
      return;
    }
    const std::vector<double> random = random_values(DType::f32, n * k, 2);
    const bool bytes = dtype == DType::i8;
    const double lowest = bytes ? -128.0 : 0.0;
    const double highest = bytes ? 127.0 : 15.0;
    std::vector<double> integers;
    for (const double value : random) {
      integers.push_back(
          std::clamp(std::nearbyint((value / 6.0 + 0.5) * (highest - lowest) + lowest), lowest, highest));
    }
    const std::int64_t groups = k / 32;
    if (bytes) {
      const std::vector<double> scale_values = random_values(DType::f16, n * groups, 3);
      for (std::size_t i = 0; i < integers.size(); ++i) meaning.push_back(integers[i] * scale_values[i / 32]);
      scales = upload(backend, DType::f16, {n, groups}, scale_values, scale_shift);
      values = upload(backend, dtype, {n, k}, integers, shift);
      return;
    }
    const std::vector<double> pairs = random_values(DType::f16, 2 * n * groups, 3);
    for (std::size_t i = 0; i < integers.size(); ++i) {
      meaning.push_back(integers[i] * pairs[i / 32 * 2] + pairs[i / 32 * 2 + 1]);
    }
    scales = upload(backend, DType::f16, {n, groups, 2}, pairs, scale_shift);
    std::vector<double> packed;
    for (std::size_t g = 0; g < integers.size(); g += 32) {
      for (std::size_t j = 0; j < 16; ++j) packed.push_back(integers[g + j] + 16 * integers[g + j + 16]);
    }
    values = upload(backend, dtype, {n, k / 2}, packed, shift);
  }

  Weight weight() const { return {values.tensor(), scales.tensor()}; }

  std::vector<double> meaning;
  Guarded values;
  Guarded scales;
};

}  // namespace mslt::test
