// Comparing results with references, and references with finite differences.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "tests/backend/backend_under_test.h"

namespace mslt::test {

// Expects a relative error within the tolerance; for expected zeros, exact zeros.
inline void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  EXPECT_LE(relative_error(actual, expected), tolerance);
}

// The relative error of `gradient` against central differences of `function`, a double of a vector, at x.
template <class Function>
double gradient_error(std::vector<double> x, const std::vector<double>& gradient, const Function& function) {
  constexpr double step = 1e-5;
  std::vector<double> differences;
  for (double& value : x) {
    const double middle = value;
    value = middle + step;
    const double above = function(x);
    value = middle - step;
    differences.push_back((above - function(x)) / (2.0 * step));
    value = middle;
  }
  return relative_error(differences, gradient);
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Whether `call` throws Error(input) with a message that starts with `operation` and contains `part`.
template <class Call>
void refuses(std::string_view operation, std::string_view part, Call&& call) {
  const std::string message = error_of(ErrorKind::input, call);
  EXPECT_TRUE(message.starts_with(operation)) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

// Beginnings and ends of refusals of two dtypes: of tensors that must match, and of kept tensors with activations.
inline std::string unlike(std::string_view name, const Tensor& tensor, std::string_view other_name,
                          const Tensor& other) {
  return fmt::format("{} is {} and {} is {}, but both must have the same dtype.", name, tensor.describe(), other_name,
                     other.describe());
}

inline std::string unkept(std::string_view name, const Tensor& kept, std::string_view other_name,
                          const Tensor& activations) {
  return fmt::format("{} is {} and {} is {}, but {} must be {} as well, or {} f32.", name, kept.describe(), other_name,
                     activations.describe(), name, name_of(activations.dtype()), other_name);
}

struct DTypePair {
  DType activations;
  DType kept;
};

// Pairs that no operation accepts.
inline const std::vector<DTypePair>& refused_pairs() {
  static const std::vector<DTypePair> all = {
      {DType::bf16, DType::f16}, {DType::f16, DType::bf16}, {DType::bf16, DType::f32}, {DType::f16, DType::f32}};
  return all;
}

inline std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

}  // namespace mslt::test
