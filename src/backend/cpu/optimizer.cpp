// The gradients' norm and AdamW on the CPU.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"

namespace mslt {
namespace {

using Block = std::array<float, element_block>;

// Squares are taken in double: no float's square overflows there or vanishes.
double sum_of_squares(const float* x, std::int64_t n) {
  double total = 0.0;
  for (std::int64_t i = 0; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

// One step's factors.
struct Step {
  float gradient_scale;
  float beta1;
  float beta2;
  float learning_rate;
  float correction1;
  float correction2;
  float epsilon;
  float weight_decay;
};

void adamw_step(float* p, const float* gradient, float* m, float* v, std::int64_t n, const Step& step) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * step.gradient_scale;
    m[i] = step.beta1 * m[i] + (1.0f - step.beta1) * g;
    v[i] = step.beta2 * v[i] + (1.0f - step.beta2) * (g * g);
    const float update = m[i] * step.correction1 / (std::sqrt(v[i] * step.correction2) + step.epsilon);
    p[i] -= step.learning_rate * (update + step.weight_decay * p[i]);
  }
}

}  // namespace

void CpuBackend::global_norm(const Tensor& out, const Tensor& gradients, bool accumulate) {
  check_global_norm(out, gradients);
  const std::int64_t n = gradients.elements();
  const FloatData data(gradients);
  constexpr std::int64_t block = 8 * element_block;
  std::vector<double> partial(static_cast<std::size_t>((n + block - 1) / block));
  for_blocks(n, block, [&](std::int64_t first, std::int64_t count) {
    alignas(64) Block buffer;
    double total = 0.0;
    for (std::int64_t i = first; i < first + count; i += element_block) {
      const std::int64_t piece = std::min(element_block, first + count - i);
      total += sum_of_squares(data.read(i, piece, buffer.data()), piece);
    }
    partial[static_cast<std::size_t>(first / block)] = total;
  });
  float& result = out.host<float>()[0];
  double total = accumulate ? static_cast<double>(result) * static_cast<double>(result) : 0.0;
  for (const double part : partial) total += part;
  result = static_cast<float>(std::sqrt(total));
}

void CpuBackend::adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment,
                       const Tensor& second_moment, const Tensor& master, const Tensor& state, const Tensor& norm,
                       const AdamWConfig& config) {
  check_adamw(parameters, gradients, first_moment, second_moment, master, state, norm, config);
  const float length = norm.host<float>()[0];
  if (!std::isfinite(length)) return;
  const auto values = state.host<float>();
  float clip = values[adamw_gradient_scale];
  if (values[adamw_max_norm] > 0.0f) {
    clip *= std::min(1.0f, values[adamw_max_norm] / (length * values[adamw_gradient_scale] + 1e-6f));
  }
  const Step step{clip,
                  config.beta1,
                  config.beta2,
                  values[adamw_learning_rate],
                  values[adamw_inverse_correction1],
                  values[adamw_inverse_correction2],
                  config.epsilon,
                  config.weight_decay};
  const FloatData stored(parameters);
  const FloatData updated(master ? master : parameters);
  const FloatData gradient(gradients);
  float* m = first_moment.host<float>().data();
  float* v = second_moment.host<float>().data();
  for_blocks(parameters.elements(), element_block, [&](std::int64_t first, std::int64_t n) {
    alignas(64) Block parameter_buffer;
    alignas(64) Block gradient_buffer;
    updated.read(first, n, parameter_buffer.data());
    float* p = updated.target(first, parameter_buffer.data());
    adamw_step(p, gradient.read(first, n, gradient_buffer.data()), m + first, v + first, n, step);
    if (master) {
      narrow(stored.at(first), stored.dtype(), p, n);
    } else {
      stored.commit(first, n, p);
    }
  });
}

}  // namespace mslt
