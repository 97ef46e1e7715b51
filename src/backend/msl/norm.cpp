// LayerNorm and RMSNorm with the residual addition as MSL kernels.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/norm_args.h"

namespace mslt {
namespace {

// Longer rows, and rows that are not whole aligned spans, are read again for each pass. As norm_kept and
// norm_simdgroups in kernels/norm.metal.
constexpr std::int64_t kept_columns = 1024;
constexpr std::int64_t most_backward_threads = 768;

// Rows of partial sums of the weight's gradient: few enough to cost little compared with the rows themselves, and the
// same on every device.
constexpr std::int64_t most_parts = 1024;
constexpr std::int64_t fewest_rows_per_part = 4;

// As in kernels/norm.metal.
constexpr std::uint32_t gradient_columns = 32;
constexpr std::uint32_t gradient_rows = 32;

}  // namespace

void MslBackend::execute(const ResidualNormForward& op) {
  if (op.residual.elements() == 0) return;
  const std::int64_t columns = op.residual.shape()[-1];
  const Tensor written = op.x ? op.sum : Tensor();
  const NormForwardArgs args = {.rows = msl::count32(op.residual.shape().rows(), "residual_norm_forward"),
                                .columns = msl::count32(columns, "residual_norm_forward"),
                                .aligned = msl::aligned_rows(columns, op.out, written, op.residual, op.x),
                                .weight_aligned = msl::aligned_rows(columns, op.weight, op.bias),
                                .rms = op.kind.rms ? 1u : 0u,
                                .has_x = op.x ? 1u : 0u,
                                .has_bias = op.bias ? 1u : 0u,
                                .has_mean = op.mean ? 1u : 0u,
                                .has_rstd = op.rstd ? 1u : 0u,
                                .epsilon = op.kind.epsilon,
                                .dropout_operation = op.dropout.operation,
                                .dropout_probability = op.dropout.probability,
                                .dropout_scale = 1.0f / (1.0f - op.dropout.probability)};
  const bool kept = columns <= kept_columns && args.aligned != 0 && args.weight_aligned != 0;
  encode(msl::kernel_name(kept ? "norm_forward" : "norm_forward_wide", op.residual.dtype(), op.weight.dtype()))
      .buffer(0, op.out)
      .optional(1, written)
      .optional(2, op.mean)
      .optional(3, op.rstd)
      .buffer(4, op.residual)
      .optional(5, op.x)
      .buffer(6, op.weight)
      .optional(7, op.bias)
      .optional(8, op.dropout.random_state)
      .bytes(9, args)
      .in_place(1, 4)
      .in_place(0, 5)
      .work(8.0 * static_cast<double>(op.residual.elements()))
      .dispatch_rows(args.rows, tuning_.norm_group_rows);
}

void MslBackend::execute(const ResidualNormBackward& op) {
  if (op.dout.elements() == 0) return;
  const std::int64_t rows = op.dout.shape().rows();
  const std::int64_t columns = op.dout.shape()[-1];
  const std::int64_t rows_per_part = std::max(fewest_rows_per_part, (rows + most_parts - 1) / most_parts);
  const std::int64_t parts = (rows + rows_per_part - 1) / rows_per_part;
  const NormBackwardArgs args = {.rows = msl::count32(rows, "residual_norm_backward"),
                                 .columns = msl::count32(columns, "residual_norm_backward"),
                                 .aligned = msl::aligned_rows(columns, op.dsum, op.dout, op.dsum_direct, op.sum),
                                 .weight_aligned = msl::aligned_rows(columns, op.weight),
                                 .rms = op.kind.rms ? 1u : 0u,
                                 .has_direct = op.dsum_direct ? 1u : 0u,
                                 .rows_per_part = msl::count32(rows_per_part, "residual_norm_backward")};
  const msl::Scratch partial = scratch(DType::f32, {parts, 2 * columns});
  if (columns <= most_backward_threads * msl::span_width && args.aligned != 0 && args.weight_aligned != 0) {
    encode(msl::kernel_name("norm_backward", op.dout.dtype()))
        .buffer(0, op.dsum)
        .buffer(1, partial)
        .buffer(2, op.dout)
        .optional(3, op.dsum_direct)
        .buffer(4, op.sum)
        .optional(5, op.mean)
        .buffer(6, op.rstd)
        .buffer(7, op.weight)
        .bytes(8, args)
        .in_place(0, 2)
        .in_place(0, 3)
        .work(14.0 * static_cast<double>(op.dout.elements()))
        .dispatch({msl::group_count(parts, 1)}, {msl::row_threads(columns, msl::span_width, most_backward_threads)});
  } else {
    // dsum may be dout, so the sums are computed first.
    encode(msl::kernel_name("norm_backward_columns", op.dout.dtype()))
        .buffer(0, partial)
        .buffer(1, op.dout)
        .buffer(2, op.sum)
        .optional(3, op.mean)
        .buffer(4, op.rstd)
        .bytes(5, args)
        .dispatch_tiles(parts, columns, tuning_.tile_threads);
    encode(msl::kernel_name("norm_backward_rows", op.dout.dtype()))
        .buffer(0, op.dsum)
        .buffer(1, op.dout)
        .optional(2, op.dsum_direct)
        .buffer(3, op.sum)
        .optional(4, op.mean)
        .buffer(5, op.rstd)
        .buffer(6, op.weight)
        .bytes(7, args)
        .in_place(0, 1)
        .in_place(0, 2)
        .dispatch_rows(rows, tuning_.norm_group_rows);
  }
  // Columns of the partial sums: the bias follows the weight.
  const std::int64_t summed = op.dbias ? 2 * columns : columns;
  const NormGradientArgs sums = {.columns = args.columns,
                                 .parts = msl::count32(parts, "residual_norm_backward"),
                                 .summed = msl::count32(summed, "residual_norm_backward")};
  encode(msl::kernel_name("norm_gradient", op.dweight.dtype()))
      .buffer(0, op.dweight)
      .optional(1, op.dbias)
      .buffer(2, partial)
      .bytes(3, sums)
      .dispatch({msl::group_count(summed, gradient_columns)}, {gradient_columns, gradient_rows});
}

}  // namespace mslt
