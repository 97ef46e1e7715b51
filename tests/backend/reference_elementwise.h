// Activations, cross entropy and AdamW in double precision, in the plainest form.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "backend/backend.h"
#include "tests/backend/reference_linear.h"

namespace mslt::test {

inline double reference_gate(Activation activation, double x) {
  return activation == Activation::geglu ? activate(Activation::gelu, x) : x / (1.0 + std::exp(-x));
}

inline double reference_gate_derivative(Activation activation, double x) {
  if (activation == Activation::geglu) return activation_derivative(Activation::gelu, x);
  const double s = 1.0 / (1.0 + std::exp(-x));
  return s + x * s * (1.0 - s);
}

// Rows of `columns` outputs; a gated activation's inputs are twice as wide.
inline std::vector<double> reference_activation(Activation activation, const std::vector<double>& in,
                                                std::size_t columns) {
  std::vector<double> out;
  if (!is_gated(activation)) {
    for (const double x : in) out.push_back(activate(activation, x));
    return out;
  }
  for (std::size_t row = 0; row < in.size(); row += 2 * columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      out.push_back(reference_gate(activation, in[row + c]) * in[row + columns + c]);
    }
  }
  return out;
}

inline std::vector<double> reference_activation_backward(Activation activation, const std::vector<double>& dout,
                                                         const std::vector<double>& in, std::size_t columns) {
  std::vector<double> din(in.size());
  if (!is_gated(activation)) {
    for (std::size_t i = 0; i < in.size(); ++i) din[i] = dout[i] * activation_derivative(activation, in[i]);
    return din;
  }
  for (std::size_t i = 0; i < dout.size(); ++i) {
    const std::size_t gate = i / columns * 2 * columns + i % columns;
    const std::size_t up = gate + columns;
    din[gate] = dout[i] * in[up] * reference_gate_derivative(activation, in[gate]);
    din[up] = dout[i] * reference_gate(activation, in[gate]);
  }
  return din;
}

struct ReferenceLoss {
  std::vector<double> losses;
  std::vector<double> dlogits;
};

// logits [rows, columns]; the first `vocab` columns count; ignores targets outside [0, vocab).
inline ReferenceLoss reference_cross_entropy(const std::vector<double>& logits, const std::vector<double>& targets,
                                             std::size_t columns, std::size_t vocab, double loss_scale) {
  ReferenceLoss result;
  result.dlogits.assign(logits.size(), 0.0);
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * columns);
    if (targets[row] < 0.0 || targets[row] >= static_cast<double>(vocab)) {
      result.losses.push_back(0.0);
      continue;
    }
    const double largest = *std::max_element(begin, begin + static_cast<std::ptrdiff_t>(vocab));
    double total = 0.0;
    for (std::size_t c = 0; c < vocab; ++c) total += std::exp(logits[row * columns + c] - largest);
    const std::size_t target = row * columns + static_cast<std::size_t>(targets[row]);
    result.losses.push_back(std::log(total) + largest - logits[target]);
    for (std::size_t c = 0; c < vocab; ++c) {
      result.dlogits[row * columns + c] = loss_scale * std::exp(logits[row * columns + c] - largest) / total;
    }
    result.dlogits[target] -= loss_scale;
  }
  return result;
}

struct ReferenceAdamW {
  std::vector<double> parameters, first, second;
};

// One step of the documented formulas on `values`, with gradient norm `norm`.
inline void reference_adamw(ReferenceAdamW& values, const std::vector<double>& gradients,
                            const std::vector<double>& state, double norm, const AdamWConfig& config) {
  const auto beta1 = static_cast<double>(config.beta1);
  const auto beta2 = static_cast<double>(config.beta2);
  double scale = state[adamw_gradient_scale];
  if (state[adamw_max_norm] > 0.0) scale *= std::min(1.0, state[adamw_max_norm] / (norm * scale + 1e-6));
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const double g = gradients[i] * scale;
    values.first[i] = beta1 * values.first[i] + (1.0 - beta1) * g;
    values.second[i] = beta2 * values.second[i] + (1.0 - beta2) * g * g;
    const double root = std::sqrt(values.second[i] * state[adamw_inverse_correction2]);
    const double update =
        values.first[i] * state[adamw_inverse_correction1] / (root + static_cast<double>(config.epsilon));
    values.parameters[i] -=
        state[adamw_learning_rate] * (update + static_cast<double>(config.weight_decay) * values.parameters[i]);
  }
}

}  // namespace mslt::test
