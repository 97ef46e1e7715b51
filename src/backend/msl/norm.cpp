// LayerNorm and RMSNorm with the residual addition as MSL kernels.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/norm_args.h"

namespace mslt {
namespace {

// Longer rows, and rows that are not whole aligned spans, are read again for each pass. As norm_kept and
// norm_most_shares in kernels/norm.metal.
constexpr std::int64_t kept_columns = 1024;
constexpr std::int64_t most_shares = 8;

// The most threads of a group in kernels/norm_backward.metal.
constexpr std::int64_t backward_threads = 512;
constexpr std::int64_t wide_backward_threads = 768;

// Rows of partial sums of the weight's gradient: few enough to cost little compared with the rows themselves, and the
// same on every device.
constexpr std::int64_t most_norm_parts = 512;
constexpr std::int64_t fewest_rows_per_part = 4;

// The argument struct of either direction, with the rows' number, columns and places.
template <class Args>
Args args_of(const NormRows& view, std::string_view operation) {
  Args args = {};
  args.rows = msl::count32(view.rows, operation);
  args.columns = msl::count32(view.columns, operation);
  args.stride = msl::count32(view.stride, operation);
  args.pieces = msl::count32(view.pieces, operation);
  return args;
}

// A tensor of wider rows from its first piece on, which is where the kernels count from.
Tensor from_first(const NormRows& view, const Tensor& tensor) {
  if (view.first == 0) return tensor;
  const std::size_t skipped = static_cast<std::size_t>(view.first) * size_of(tensor.dtype());
  return {tensor.buffer(), tensor.offset() + skipped, tensor.dtype(), {tensor.elements() - view.first}};
}

// Bytes of such a tensor that belong to no row.
std::uint64_t bytes_between(const NormRows& view, const Tensor& tensor) {
  return tensor.bytes() - static_cast<std::uint64_t>(view.rows * view.columns) * size_of(tensor.dtype());
}

// 1 if all rows start at multiples of 16 bytes and are whole spans.
template <class... Tensors>
std::uint32_t aligned_rows(const NormRows& view, const Tensors&... tensors) {
  return view.stride % msl::span_width == 0 ? msl::aligned_rows(view.columns, tensors...) : 0;
}

}  // namespace

void MslBackend::execute(const ResidualNormForward& op) {
  if (op.residual.elements() == 0) return;
  const NormRows view = op.rows();
  const Tensor out = from_first(view, op.out);
  const Tensor residual = from_first(view, op.residual);
  auto args = args_of<NormForwardArgs>(view, "residual_norm_forward");
  args.aligned = aligned_rows(view, out, op.sum, residual, op.x);
  args.weight_aligned = msl::aligned_rows(view.columns, op.weight, op.bias);
  args.rms = op.kind.rms ? 1 : 0;
  args.has_x = op.x ? 1 : 0;
  args.has_sum = op.sum ? 1 : 0;
  args.has_bias = op.bias ? 1 : 0;
  args.has_mean = op.mean ? 1 : 0;
  args.has_rstd = op.rstd ? 1 : 0;
  args.epsilon = op.kind.epsilon;
  args.weight_offset = op.kind.weight_offset;
  args.dropout_operation = op.dropout.operation;
  args.dropout_probability = op.dropout.probability;
  args.dropout_scale = 1.0f / (1.0f - op.dropout.probability);
  const bool kept = view.columns <= most_shares * kept_columns && args.aligned != 0 && args.weight_aligned != 0;
  const bool joint = kept && view.columns > kept_columns;
  const std::string_view stem = joint ? "norm_forward_joint" : kept ? "norm_forward" : "norm_forward_wide";
  msl::Encoder encoder = encode(msl::kernel_name(stem, op.residual.dtype(), op.weight.dtype()));
  encoder.buffer(0, out)
      .optional(1, op.sum)
      .optional(2, op.mean)
      .optional(3, op.rstd)
      .buffer(4, residual)
      .optional(5, op.x)
      .buffer(6, op.weight)
      .optional(7, op.bias)
      .optional(8, op.dropout.random_state)
      .bytes(9, args)
      .in_place(1, 4)
      .in_place(0, 4)
      .in_place(0, 5)
      .work(8.0 * static_cast<double>(view.rows * view.columns))
      .skips(2 * bytes_between(view, out));
  if (joint) {
    encoder.dispatch({args.rows}, {msl::row_threads(view.columns, kept_columns / msl::simdgroup_width,
                                                    most_shares * msl::simdgroup_width)});
  } else {
    encoder.dispatch_rows(args.rows, tuning_.norm_group_rows);
  }
}

void MslBackend::execute(const ResidualNormBackward& op) {
  if (op.dout.elements() == 0) return;
  const NormRows view = op.rows();
  const Tensor dsum = from_first(view, op.dsum);
  const Tensor dout = from_first(view, op.dout);
  const std::int64_t columns = view.columns;
  const std::int64_t rows_per_part =
      std::max(fewest_rows_per_part, (view.rows + most_norm_parts - 1) / most_norm_parts);
  const std::int64_t parts = (view.rows + rows_per_part - 1) / rows_per_part;
  auto args = args_of<NormBackwardArgs>(view, "residual_norm_backward");
  args.aligned = aligned_rows(view, dsum, dout, op.dsum_direct, op.sum);
  args.weight_aligned = msl::aligned_rows(columns, op.weight);
  args.rms = op.kind.rms ? 1 : 0;
  args.has_direct = op.dsum_direct ? 1 : 0;
  args.sums = op.dx_bias ? 3 : 2;
  args.rows_per_part = msl::count32(rows_per_part, "residual_norm_backward");
  args.weight_offset = op.kind.weight_offset;
  const msl::Scratch partial = scratch(DType::f32, {parts, args.sums * columns});
  const bool aligned = args.aligned != 0 && args.weight_aligned != 0;
  // A row that the threads of a group have a span of each.
  const bool together = aligned && columns <= wide_backward_threads * msl::span_width;
  if (together) {
    const bool wide = columns > backward_threads * msl::span_width;
    encode(msl::kernel_name(wide ? "norm_backward_wide" : "norm_backward", op.dout.dtype()))
        .buffer(0, dsum)
        .buffer(1, partial)
        .buffer(2, dout)
        .optional(3, op.dsum_direct)
        .buffer(4, op.sum)
        .optional(5, op.mean)
        .buffer(6, op.rstd)
        .buffer(7, op.weight)
        .bytes(8, args)
        .in_place(0, 2)
        .in_place(0, 3)
        .work(14.0 * static_cast<double>(view.rows * columns))
        .skips(2 * bytes_between(view, dsum))
        .dispatch({msl::group_count(parts, 1)}, {msl::row_threads(columns, msl::span_width, wide_backward_threads)});
  } else {
    // dsum may be dout, so the sums are computed first.
    encode(msl::kernel_name("norm_backward_columns", op.dout.dtype()))
        .buffer(0, partial)
        .buffer(1, dout)
        .buffer(2, op.sum)
        .optional(3, op.mean)
        .buffer(4, op.rstd)
        .bytes(5, args)
        .skips(bytes_between(view, dout))
        .dispatch_tiles(parts, columns, tuning_.tile_threads);
    encode(msl::kernel_name("norm_backward_rows", op.dout.dtype()))
        .buffer(0, dsum)
        .buffer(1, dout)
        .optional(2, op.dsum_direct)
        .buffer(3, op.sum)
        .optional(4, op.mean)
        .buffer(5, op.rstd)
        .buffer(6, op.weight)
        .bytes(7, args)
        .in_place(0, 1)
        .in_place(0, 2)
        .skips(2 * bytes_between(view, dsum))
        .dispatch_rows(view.rows, tuning_.norm_group_rows);
  }
  // Columns of the partial sums: the bias follows the weight, and that of x the bias.
  const bool has_x_sums = op.dx_bias && together;
  const std::int64_t summed = (has_x_sums ? 3 : op.dbias ? 2 : 1) * columns;
  const NormGradientArgs sums = {.columns = args.columns,
                                 .parts = msl::count32(parts, "residual_norm_backward"),
                                 .sums = args.sums,
                                 .summed = msl::count32(summed, "residual_norm_backward"),
                                 .has_bias = op.dbias ? 1u : 0u};
  encode(msl::kernel_name("norm_gradient", op.dweight.dtype()))
      .buffer(0, op.dweight)
      .optional(1, op.dbias)
      .optional(2, has_x_sums ? op.dx_bias : Tensor())
      .buffer(3, partial)
      .bytes(4, sums)
      .dispatch({msl::group_count(summed, msl::join_columns)}, {msl::join_columns, msl::join_rows});
  if (op.dx_bias && !together) add_column_sums("residual_norm_backward", op.dx_bias, op.dsum);
}

}  // namespace mslt
