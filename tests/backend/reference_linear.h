// The matrix products in double precision, in the plainest form.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "backend/backend.h"

namespace mslt::test {

inline double activate(Activation activation, double x) {
  if (activation == Activation::relu) return x > 0.0 ? x : 0.0;
  if (activation == Activation::gelu_erf) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  if (activation != Activation::gelu) return x;
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

inline double activation_derivative(Activation activation, double x) {
  if (activation == Activation::relu) return x > 0.0 ? 1.0 : 0.0;
  if (activation == Activation::gelu_erf) {
    return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * M_PI);
  }
  if (activation != Activation::gelu) return 1.0;
  const double u = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
  const double du = std::sqrt(2.0 / M_PI) * (1.0 + 3.0 * 0.044715 * x * x);
  return 0.5 * (1.0 + std::tanh(u)) + 0.5 * x * (1.0 - std::tanh(u) * std::tanh(u)) * du;
}

// How many roundings the relative error of f(x) may come to where x is rounded before the activation f, and f(x) after
// it: 1 + ‖x · f'(x)‖ / ‖f(x)‖. Without an activation, and of relu, nothing is left for the second one to round.
inline double roundings_of(Activation activation, const std::vector<double>& x) {
  if (activation == Activation::none || activation == Activation::relu) return 1.0;
  double moved = 0.0;
  double norm = 0.0;
  for (const double value : x) {
    moved += std::pow(value * activation_derivative(activation, value), 2.0);
    norm += std::pow(activate(activation, value), 2.0);
  }
  return norm == 0.0 ? 1.0 : 1.0 + std::sqrt(moved / norm);
}

// in [m, k] · weight [n, k]ᵀ + bias [n]; bias may be empty.
std::vector<double> reference_matmul(const std::vector<double>& in, const std::vector<double>& weight,
                                     const std::vector<double>& bias, std::size_t m, std::size_t n, std::size_t k);

// The transpose of [rows, columns].
inline std::vector<double> transposed(const std::vector<double>& matrix, std::size_t rows, std::size_t columns) {
  std::vector<double> result(matrix.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) result[j * rows + i] = matrix[i * columns + j];
  }
  return result;
}

}  // namespace mslt::test
