// LayerNorm and RMSNorm with the residual addition as MSL kernels.
#include <algorithm>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/norm_args.h"

namespace mslt {
namespace {

// Longer rows, and those that are not whole aligned spans, are read again for each pass over them; as norm_kept and
// norm_simdgroups of kernels/norm.metal have it.
constexpr std::int64_t kept_columns = 1024;
constexpr std::int64_t most_backward_threads = 768;

// Rows of partial sums of the weight's gradient: few enough to cost little beside the rows themselves, and the same on
// every device.
constexpr std::int64_t most_parts = 1024;
constexpr std::int64_t fewest_rows_per_part = 4;

// As in kernels/norm.metal.
constexpr std::uint32_t gradient_columns = 32;
constexpr std::uint32_t gradient_rows = 32;

}  // namespace

void MslBackend::residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                       const Tensor& residual, const Tensor& x, const Tensor& weight,
                                       const Tensor& bias, const NormKind& kind, const Dropout& dropout) {
  check_residual_norm_forward(out, sum, mean, rstd, residual, x, weight, bias, kind, dropout);
  if (residual.elements() == 0) return;
  const std::int64_t columns = residual.shape()[-1];
  const Tensor written = x ? sum : Tensor();
  const NormForwardArgs args = {.rows = msl::count32(residual.shape().rows(), "residual_norm_forward"),
                                .columns = msl::count32(columns, "residual_norm_forward"),
                                .aligned = msl::aligned_rows(columns, out, written, residual, x),
                                .weight_aligned = msl::aligned_rows(columns, weight, bias),
                                .rms = kind.rms ? 1u : 0u,
                                .has_x = x ? 1u : 0u,
                                .has_bias = bias ? 1u : 0u,
                                .has_mean = mean ? 1u : 0u,
                                .has_rstd = rstd ? 1u : 0u,
                                .epsilon = kind.epsilon,
                                .dropout_operation = dropout.operation,
                                .dropout_probability = dropout.probability,
                                .dropout_scale = 1.0f / (1.0f - dropout.probability)};
  const bool kept = columns <= kept_columns && args.aligned != 0 && args.weight_aligned != 0;
  encode(msl::kernel_name(kept ? "norm_forward" : "norm_forward_wide", residual.dtype(), weight.dtype()))
      .buffer(0, out)
      .optional(1, written)
      .optional(2, mean)
      .optional(3, rstd)
      .buffer(4, residual)
      .optional(5, x)
      .buffer(6, weight)
      .optional(7, bias)
      .optional(8, dropout.random_state)
      .bytes(9, args)
      .in_place(1, 4)
      .in_place(0, 5)
      .work(8.0 * static_cast<double>(residual.elements()))
      .dispatch_rows(args.rows, tuning_.norm_group_rows);
}

void MslBackend::residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias,
                                        const Tensor& dout, const Tensor& dsum_direct, const Tensor& sum,
                                        const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                                        const NormKind& kind) {
  check_residual_norm_backward(dsum, dweight, dbias, dout, dsum_direct, sum, mean, rstd, weight, kind);
  if (dout.elements() == 0) return;
  const std::int64_t rows = dout.shape().rows();
  const std::int64_t columns = dout.shape()[-1];
  const std::int64_t rows_per_part = std::max(fewest_rows_per_part, (rows + most_parts - 1) / most_parts);
  const std::int64_t parts = (rows + rows_per_part - 1) / rows_per_part;
  const NormBackwardArgs args = {.rows = msl::count32(rows, "residual_norm_backward"),
                                 .columns = msl::count32(columns, "residual_norm_backward"),
                                 .aligned = msl::aligned_rows(columns, dsum, dout, dsum_direct, sum),
                                 .weight_aligned = msl::aligned_rows(columns, weight),
                                 .rms = kind.rms ? 1u : 0u,
                                 .has_direct = dsum_direct ? 1u : 0u,
                                 .rows_per_part = msl::count32(rows_per_part, "residual_norm_backward")};
  const msl::Scratch partial = scratch(DType::f32, {parts, 2 * columns});
  if (columns <= most_backward_threads * msl::span_width && args.aligned != 0 && args.weight_aligned != 0) {
    encode(msl::kernel_name("norm_backward", dout.dtype()))
        .buffer(0, dsum)
        .buffer(1, partial)
        .buffer(2, dout)
        .optional(3, dsum_direct)
        .buffer(4, sum)
        .optional(5, mean)
        .buffer(6, rstd)
        .buffer(7, weight)
        .bytes(8, args)
        .in_place(0, 2)
        .in_place(0, 3)
        .work(14.0 * static_cast<double>(dout.elements()))
        .dispatch({msl::group_count(parts, 1)}, {msl::row_threads(columns, msl::span_width, most_backward_threads)});
  } else {
    // dsum may be dout, so the sums are taken first.
    encode(msl::kernel_name("norm_backward_columns", dout.dtype()))
        .buffer(0, partial)
        .buffer(1, dout)
        .buffer(2, sum)
        .optional(3, mean)
        .buffer(4, rstd)
        .bytes(5, args)
        .dispatch_tiles(parts, columns, tuning_.tile_threads);
    encode(msl::kernel_name("norm_backward_rows", dout.dtype()))
        .buffer(0, dsum)
        .buffer(1, dout)
        .optional(2, dsum_direct)
        .buffer(3, sum)
        .optional(4, mean)
        .buffer(5, rstd)
        .buffer(6, weight)
        .bytes(7, args)
        .in_place(0, 1)
        .in_place(0, 2)
        .dispatch_rows(rows, tuning_.norm_group_rows);
  }
  // Columns of the partial sums: those of the bias follow those of the weight.
  const std::int64_t summed = dbias ? 2 * columns : columns;
  const NormGradientArgs sums = {.columns = args.columns,
                                 .parts = msl::count32(parts, "residual_norm_backward"),
                                 .summed = msl::count32(summed, "residual_norm_backward")};
  encode(msl::kernel_name("norm_gradient", dweight.dtype()))
      .buffer(0, dweight)
      .optional(1, dbias)
      .buffer(2, partial)
      .bytes(3, sums)
      .dispatch({msl::group_count(summed, gradient_columns)}, {gradient_columns, gradient_rows});
}

}  // namespace mslt
