// What tests of devices share without a backend: elements of a dtype as doubles, random values and error norms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tensor/dtype.h"

namespace mslt::test {

// The elements of that dtype that are closest to these values, and back.
std::vector<std::byte> encode(DType dtype, const std::vector<double>& values);
std::vector<double> decode(DType dtype, const std::vector<std::byte>& bytes);

// `values` rounded to `dtype`.
std::vector<double> rounded(DType dtype, const std::vector<double>& values);

// Standard normal values, rounded to `dtype`; a function of the seed.
std::vector<double> random_values(DType dtype, std::int64_t count, std::uint64_t seed);

// ‖actual - expected‖ / ‖expected‖, infinite if sizes differ or an element of `actual` is not finite.
double relative_error(const std::vector<double>& actual, const std::vector<double>& expected);

// The tolerated relative error of norms for a result stored as `dtype`; `f32` is that of floats.
inline double tolerance_of(DType dtype, double f32 = 1e-6) {
  if (dtype == DType::bf16) return 4e-3;
  return dtype == DType::f16 ? 5e-4 : f32;
}

}  // namespace mslt::test
