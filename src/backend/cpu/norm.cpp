// LayerNorm and RMSNorm with the residual addition, on the CPU.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/checks.h"
#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/dropout.h"
#include "backend/cpu/float_data.h"

namespace mslt {
namespace {

struct Statistics {
  float mean = 0.0f;
  float rstd = 0.0f;
};

Statistics statistics_of(const float* x, std::int64_t n, const NormKind& kind) {
  Statistics result;
  const auto count = static_cast<float>(n);
  if (!kind.rms) {
    float total = 0.0f;
    for (std::int64_t i = 0; i < n; ++i) total += x[i];
    result.mean = total / count;
  }
  float squares = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) squares += (x[i] - result.mean) * (x[i] - result.mean);
  result.rstd = 1.0f / std::sqrt(squares / count + kind.epsilon);
  return result;
}

// out = (x - mean) · rstd · weight + bias; bias may be null.
void normalise(const float* x, const float* weight, const float* bias, std::int64_t n, const Statistics& row,
               float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = (x[i] - row.mean) * row.rstd * weight[i];
    out[i] = bias == nullptr ? value : value + bias[i];
  }
}

// dweight += dout · normalised x, dbias += dout (unless null). dsum = direct (0 where null) + the norm's gradient.
void backward_row(const float* dout, const float* x, const float* weight, const float* direct, std::int64_t n,
                  const Statistics& row, bool rms, float* dweight, float* dbias, float* dsum) {
  float mean_gradient = 0.0f;
  float mean_product = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) {
    const float normal = (x[i] - row.mean) * row.rstd;
    const float gradient = dout[i] * weight[i];
    mean_gradient += gradient;
    mean_product += gradient * normal;
    dweight[i] += dout[i] * normal;
    if (dbias != nullptr) dbias[i] += dout[i];
  }
  mean_gradient = rms ? 0.0f : mean_gradient / static_cast<float>(n);
  mean_product /= static_cast<float>(n);
  for (std::int64_t i = 0; i < n; ++i) {
    const float normal = (x[i] - row.mean) * row.rstd;
    const float value = row.rstd * (dout[i] * weight[i] - mean_gradient - normal * mean_product);
    dsum[i] = direct == nullptr ? value : direct[i] + value;
  }
}

// A whole vector as floats.
std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> values(tensor ? static_cast<std::size_t>(tensor.elements()) : 0);
  if (tensor) widen(values.data(), FloatData(tensor).at(0), tensor.dtype(), tensor.elements());
  return values;
}

float* floats_or_null(const Tensor& tensor) {
  return tensor ? tensor.host<float>().data() : nullptr;
}

// gradient[i] += the sum over blocks of partial[block · stride + i], in the order of blocks.
void add_partial_sums(const Tensor& gradient, const float* partial, std::int64_t blocks, std::int64_t stride) {
  const FloatData data(gradient);
  for_blocks(gradient.elements(), 64, [&](std::int64_t first, std::int64_t n) {
    float buffer[64];
    float* target = data.target(first, buffer);
    const float* old = data.read(first, n, buffer);
    for (std::int64_t i = 0; i < n; ++i) {
      float total = 0.0f;
      for (std::int64_t block = 0; block < blocks; ++block) total += partial[block * stride + first + i];
      target[i] = old[i] + total;
    }
    data.commit(first, n, target);
  });
}

}  // namespace

void CpuBackend::residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                       const Tensor& residual, const Tensor& x, const Tensor& weight,
                                       const Tensor& bias, const NormKind& kind, const Dropout& dropout) {
  check_residual_norm_forward(out, sum, mean, rstd, residual, x, weight, bias, kind, dropout);
  const std::int64_t columns = residual.shape()[-1];
  const DropoutState state(dropout);
  const std::vector<float> gain = floats_of(weight);
  const std::vector<float> offset = floats_of(bias);
  const FloatData outs(out);
  const FloatData sums(x ? sum : Tensor());
  const FloatData residuals(residual);
  const FloatData inputs(x);
  float* means = floats_or_null(mean);
  float* rstds = floats_or_null(rstd);
  for_blocks(residual.shape().rows(), rows_for(columns, 4 * element_block), [&](std::int64_t begin, std::int64_t rows) {
    std::vector<float> scratch(static_cast<std::size_t>(2 * columns));
    float* dropped = scratch.data();
    float* buffer = dropped + columns;
    for (std::int64_t row = begin; row < begin + rows; ++row) {
      const std::int64_t at = row * columns;
      const float* total = residuals.read(at, columns, buffer);
      if (inputs) {
        const float* values = inputs.read(at, columns, dropped);
        if (state.probability > 0.0f) {
          apply_dropout(state, at, columns, values, dropped);
          values = dropped;
        }
        float* target = sums.target(at, buffer);
        for (std::int64_t i = 0; i < columns; ++i) target[i] = total[i] + values[i];
        sums.commit(at, columns, target);
        total = target;
      }
      const Statistics statistics = statistics_of(total, columns, kind);
      float* target = outs.target(at, dropped);
      normalise(total, gain.data(), bias ? offset.data() : nullptr, columns, statistics, target);
      outs.commit(at, columns, target);
      if (means != nullptr) means[row] = statistics.mean;
      if (rstds != nullptr) rstds[row] = statistics.rstd;
    }
  });
}

void CpuBackend::residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias,
                                        const Tensor& dout, const Tensor& dsum_direct, const Tensor& sum,
                                        const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                                        const NormKind& kind) {
  check_residual_norm_backward(dsum, dweight, dbias, dout, dsum_direct, sum, mean, rstd, weight, kind);
  const std::int64_t rows = dout.shape().rows();
  const std::int64_t columns = dout.shape()[-1];
  // At most 64 blocks, however many rows there are: the partial sums stay small and the same for any thread count.
  const std::int64_t block_rows = std::max<std::int64_t>(8, (rows + 63) / 64);
  const std::int64_t blocks = (rows + block_rows - 1) / block_rows;
  const std::int64_t stride = 2 * columns;
  std::vector<float> partial(static_cast<std::size_t>(blocks * stride));
  const std::vector<float> gain = floats_of(weight);
  const FloatData results(dsum);
  const FloatData gradients(dout);
  const FloatData direct(dsum_direct);
  const FloatData sums(sum);
  const float* means = floats_or_null(mean);
  const float* rstds = floats_or_null(rstd);
  for_blocks(rows, block_rows, [&](std::int64_t begin, std::int64_t count) {
    std::vector<float> scratch(static_cast<std::size_t>(3 * columns));
    float* dweights = partial.data() + begin / block_rows * stride;
    float* dbiases = dbias ? dweights + columns : nullptr;
    for (std::int64_t row = begin; row < begin + count; ++row) {
      const std::int64_t at = row * columns;
      const Statistics statistics{means == nullptr ? 0.0f : means[row], rstds[row]};
      const float* gradient = gradients.read(at, columns, scratch.data());
      const float* values = sums.read(at, columns, scratch.data() + columns);
      const float* shortcut = direct ? direct.read(at, columns, scratch.data() + 2 * columns) : nullptr;
      float* target = results.target(at, scratch.data());
      backward_row(gradient, values, gain.data(), shortcut, columns, statistics, kind.rms, dweights, dbiases, target);
      results.commit(at, columns, target);
    }
  });
  add_partial_sums(dweight, partial.data(), blocks, stride);
  if (dbias) add_partial_sums(dbias, partial.data() + columns, blocks, stride);
}

}  // namespace mslt
