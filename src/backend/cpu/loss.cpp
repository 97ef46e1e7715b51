// Cross entropy and sums on the CPU.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"

namespace mslt {
namespace {

float maximum(const float* x, std::int64_t n) {
  float result = x[0];
  for (std::int64_t i = 1; i < n; ++i) result = std::max(result, x[i]);
  return result;
}

// The sum of exp(x[i] - shift); where `out` is not null, it receives the terms. out may be x.
float sum_of_exponentials(const float* x, std::int64_t n, float shift, float* out) {
  float total = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = std::exp(x[i] - shift);
    total += value;
    if (out != nullptr) out[i] = value;
  }
  return total;
}

void scale_by(float* x, std::int64_t n, float factor) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

double sum_of(const float* x, std::int64_t n) {
  double total = 0.0;
  for (std::int64_t i = 0; i < n; ++i) total += x[i];
  return total;
}

}  // namespace

void CpuBackend::cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets, std::int64_t vocab,
                               const Tensor& loss_scale) {
  check_cross_entropy(losses, logits, targets, vocab, loss_scale);
  const std::int64_t columns = logits.shape()[-1];
  const FloatData data(logits);
  float* loss = losses.host<float>().data();
  const std::int32_t* target = targets.host<std::int32_t>().data();
  const bool backward = static_cast<bool>(loss_scale);
  const float scale = backward ? loss_scale.host<float>()[0] : 0.0f;
  for_blocks(logits.shape().rows(), rows_for(columns, 8 * element_block), [&](std::int64_t begin, std::int64_t rows) {
    std::vector<float> buffer(data.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(columns));
    for (std::int64_t row = begin; row < begin + rows; ++row) {
      const std::int64_t at = row * columns;
      const std::int64_t wanted = target[row];
      const bool ignored = wanted < 0 || wanted >= vocab;
      if (ignored) {
        loss[row] = 0.0f;
        if (!backward) continue;
        float* gradient = data.target(at, buffer.data());
        std::fill_n(gradient, columns, 0.0f);
        data.commit(at, columns, gradient);
        continue;
      }
      const float* x = data.read(at, columns, buffer.data());
      const float largest = maximum(x, vocab);
      const float wanted_logit = x[wanted];
      float* gradient = backward ? data.target(at, buffer.data()) : nullptr;
      const float total = sum_of_exponentials(x, vocab, largest, gradient);
      // Both differences are of nearby numbers, so this keeps small losses accurate.
      loss[row] = std::log(total) + (largest - wanted_logit);
      if (!backward) continue;
      scale_by(gradient, vocab, scale / total);
      gradient[wanted] -= scale;
      std::fill(gradient + vocab, gradient + columns, 0.0f);
      data.commit(at, columns, gradient);
    }
  });
}

void CpuBackend::sum(const Tensor& out, const Tensor& in, bool accumulate) {
  check_sum(out, in);
  const std::int64_t n = in.elements();
  const float* values = in.host<float>().data();
  constexpr std::int64_t block = 4 * element_block;
  std::vector<double> partial(static_cast<std::size_t>((n + block - 1) / block));
  for_blocks(n, block, [&](std::int64_t first, std::int64_t count) {
    partial[static_cast<std::size_t>(first / block)] = sum_of(values + first, count);
  });
  float& result = out.host<float>()[0];
  double total = accumulate ? result : 0.0;
  for (const double part : partial) total += part;
  result = static_cast<float>(total);
}

}  // namespace mslt
