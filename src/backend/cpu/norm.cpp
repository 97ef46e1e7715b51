// LayerNorm and RMSNorm with the residual addition, on the CPU.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/dropout.h"
#include "backend/cpu/float_data.h"
#include "backend/cpu/views.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"

#ifndef MSLT_BACKEND_CPU_NORM_ONCE
#define MSLT_BACKEND_CPU_NORM_ONCE
namespace mslt {

// One row of the backward pass.
struct BackwardRow {
  const float* dout;
  const float* x;
  const float* weight;
  const float* direct;  // may be null
  float mean;
  float rstd;
  bool rms;
};

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// Stores total = residual + x and returns its sum.
float add_rows(const float* residual, const float* x, std::int64_t n, float* total) {
  return sum_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto value = hn::Add(hn::LoadU(d, residual + i), hn::LoadU(d, x + i));
    hn::StoreU(value, d, total + i);
    return value;
  });
}

float sum_row(const float* x, std::int64_t n) {
  return sum_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR { return hn::LoadU(d, x + i); });
}

// The sum of (x - mean)².
float squared_distance(const float* x, float mean, std::int64_t n) {
  return sum_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto distance = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean));
    return hn::Mul(distance, distance);
  });
}

// out = (x - mean) · rstd · weight + bias; bias may be null.
void normalise(const float* x, const float* weight, const float* bias, float mean, float rstd, std::int64_t n,
               float* out) {
  if (bias == nullptr) {
    for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
      const auto normal = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, rstd));
      hn::StoreU(hn::Mul(normal, hn::LoadU(d, weight + i)), d, out + i);
    });
  } else {
    for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
      const auto normal = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, rstd));
      hn::StoreU(hn::MulAdd(normal, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, out + i);
    });
  }
}

// dweight += dout · normalised x, dbias += dout (unless null). dsum = direct + the norm's gradient.
void backward_row(const BackwardRow& row, std::int64_t n, float* dweight, float* dbias, float* dsum) {
  const float* dout = row.dout;
  const float* x = row.x;
  const float* weight = row.weight;
  const float* direct = row.direct;
  const float mean = row.mean;
  const float rstd = row.rstd;
  const auto normal_at = [=](auto d, std::int64_t i) HWY_ATTR {
    return hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, rstd));
  };
  const auto gradient_at = [=](auto d, std::int64_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(d, dout + i), hn::LoadU(d, weight + i));
  };
  float product = sum_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto normal = normal_at(d, i);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, dout + i), normal, hn::LoadU(d, dweight + i)), d, dweight + i);
    return hn::Mul(gradient_at(d, i), normal);
  });
  product /= static_cast<float>(n);
  float gradient = 0.0f;
  if (!row.rms) gradient = sum_lanes(n, gradient_at) / static_cast<float>(n);
  if (dbias != nullptr) {
    for_lanes(n, [=](auto d, std::int64_t i)
                     HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, dbias + i), hn::LoadU(d, dout + i)), d, dbias + i); });
  }
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const auto centred = hn::Sub(gradient_at(d, i), hn::Set(d, gradient));
    const auto projected = hn::NegMulAdd(normal_at(d, i), hn::Set(d, product), centred);
    const auto shortcut = direct == nullptr ? hn::Zero(d) : hn::LoadU(d, direct + i);
    hn::StoreU(hn::MulAdd(projected, hn::Set(d, rstd), shortcut), d, dsum + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(add_rows);
HWY_EXPORT(sum_row);
HWY_EXPORT(squared_distance);
HWY_EXPORT(normalise);
HWY_EXPORT(backward_row);

// A weight or bias as floats, with `offset` added: in place, or copied once per call. Null if absent.
class Vector {
 public:
  explicit Vector(const Tensor& tensor, float offset = 0.0f)
      : widened_(tensor && (offset != 0.0f || tensor.dtype() != DType::f32) ? tensor.elements() : 0) {
    if (tensor) data_ = FloatData(tensor).read(0, tensor.elements(), widened_.data());
    if (offset == 0.0f) return;
    std::transform(data_, data_ + widened_.size(), widened_.begin(), [=](float value) { return value + offset; });
    data_ = widened_.data();
  }
  const float* data() const { return data_; }

 private:
  std::vector<float> widened_;
  const float* data_ = nullptr;
};

// gradient[i] += the sum over blocks of partial[block · stride + i], in the order of blocks.
void add_partial_sums(const Tensor& gradient, const float* partial, std::int64_t blocks, std::int64_t stride) {
  const FloatData data(gradient);
  const Cost cost = Cost{.flops = 4, .bytes = 4} * blocks;
  for_blocks(gradient.elements(), 64, cost, [&](std::int64_t first, std::int64_t n) {
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

void CpuBackend::execute(const ResidualNormForward& op) {
  const NormRows view = op.rows();
  const std::int64_t columns = view.columns;
  const DropoutState state(op.dropout);
  const Vector gain(op.weight, op.kind.weight_offset);
  const Vector offset(op.bias);
  const FloatData outs(op.out);
  const FloatData sums(op.sum);
  const FloatData residuals(op.residual);
  const FloatData inputs(op.x);
  float* means = data_of<float>(op.mean);
  float* rstds = data_of<float>(op.rstd);
  const std::size_t row_bytes = static_cast<std::size_t>(columns) * size_of(op.residual.dtype());
  const bool buffered = op.residual.dtype() != DType::f32 || state.probability > 0.0f;
  const Cost cost = Cost{.flops = 16, .bytes = 16} * columns;
  for_blocks(view.rows, rows_for(columns, 4 * element_block), cost, [&](std::int64_t begin, std::int64_t rows) {
    std::vector<float> scratch(buffered ? static_cast<std::size_t>(2 * columns) : 0);
    float* first = scratch.data();
    float* second = buffered ? first + columns : nullptr;
    for (std::int64_t row = begin; row < begin + rows; ++row) {
      const std::int64_t at = view.begin(row);
      const std::int64_t sum_at = row * columns;
      const float* total = residuals.read(at, columns, first);
      float mean_value = 0.0f;
      if (inputs) {
        const float* values = inputs.read(at, columns, second);
        if (state.probability > 0.0f) {
          apply_dropout(state, at, columns, values, second);
          values = second;
        }
        float* target = sums.target(sum_at, first);
        mean_value = HWY_DYNAMIC_DISPATCH(add_rows)(total, values, columns, target);
        sums.commit(sum_at, columns, target);
        total = sums.read(sum_at, columns, first);
      } else if (sums) {
        std::memmove(sums.at(sum_at), residuals.at(at), row_bytes);
      }
      // As stored in 16 bits, the sum has another mean.
      if (!op.kind.rms && (!inputs || sums.dtype() != DType::f32)) {
        mean_value = HWY_DYNAMIC_DISPATCH(sum_row)(total, columns);
      }
      mean_value = op.kind.rms ? 0.0f : mean_value / static_cast<float>(columns);
      const float squares = HWY_DYNAMIC_DISPATCH(squared_distance)(total, mean_value, columns);
      const float variance = squares / static_cast<float>(columns) + op.kind.epsilon;
      // Without an epsilon, a constant row gives zeros.
      const float rstd_value = variance == 0.0f ? 0.0f : 1.0f / std::sqrt(variance);
      float* target = outs.target(at, second);
      HWY_DYNAMIC_DISPATCH(normalise)(total, gain.data(), offset.data(), mean_value, rstd_value, columns, target);
      outs.commit(at, columns, target);
      if (means != nullptr) means[row] = mean_value;
      if (rstds != nullptr) rstds[row] = rstd_value;
    }
  });
}

void CpuBackend::execute(const ResidualNormBackward& op) {
  const NormRows view = op.rows();
  const std::int64_t rows = view.rows;
  const std::int64_t columns = view.columns;
  // At most 64 blocks for any number of rows: the partial sums stay small and independent of the thread count.
  const std::int64_t block_rows = std::max<std::int64_t>(8, (rows + 63) / 64);
  const std::int64_t blocks = (rows + block_rows - 1) / block_rows;
  const std::int64_t stride = 3 * columns;
  std::vector<float> partial(static_cast<std::size_t>(blocks * stride));
  const Vector gain(op.weight, op.kind.weight_offset);
  const FloatData results(op.dsum);
  const FloatData gradients(op.dout);
  const FloatData direct(op.dsum_direct);
  const FloatData sums(op.sum);
  const float* means = data_of<float>(op.mean);
  const float* rstds = data_of<float>(op.rstd);
  const Cost cost = Cost{.flops = 24, .bytes = 20} * columns;
  for_blocks(rows, block_rows, cost, [&](std::int64_t begin, std::int64_t count) {
    std::vector<float> scratch(op.dout.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(3 * columns));
    const auto buffer = [&](std::int64_t i) {
      return scratch.empty() ? nullptr : scratch.data() + i * columns;
    };
    float* dweights = partial.data() + begin / block_rows * stride;
    float* dbiases = op.dbias ? dweights + columns : nullptr;
    float* dx_biases = op.dx_bias ? dweights + 2 * columns : nullptr;
    for (std::int64_t row = begin; row < begin + count; ++row) {
      const std::int64_t at = view.begin(row);
      const BackwardRow task{gradients.read(at, columns, buffer(0)),
                             sums.read(row * columns, columns, buffer(1)),
                             gain.data(),
                             direct ? direct.read(at, columns, buffer(2)) : nullptr,
                             means == nullptr ? 0.0f : means[row],
                             rstds[row],
                             op.kind.rms};
      float* target = results.target(at, buffer(0));
      HWY_DYNAMIC_DISPATCH(backward_row)(task, columns, dweights, dbiases, target);
      results.commit(at, columns, target);
      if (dx_biases != nullptr) std::transform(target, target + columns, dx_biases, dx_biases, std::plus<>());
    }
  });
  add_partial_sums(op.dweight, partial.data(), blocks, stride);
  if (op.dbias) add_partial_sums(op.dbias, partial.data() + columns, blocks, stride);
  if (op.dx_bias) add_partial_sums(op.dx_bias, partial.data() + 2 * columns, blocks, stride);
}

}  // namespace mslt
#endif
