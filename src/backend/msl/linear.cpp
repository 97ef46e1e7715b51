// Matrix products as MSL kernels.
#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "backend/msl/any_float.h"
#include "backend/msl/launch.h"
#include "backend/msl/matvec.h"
#include "backend/msl/msl_backend.h"
#include "kernels/linear_args.h"

namespace mslt {
namespace {

// As kernels/linear.metal has it.
constexpr std::uint32_t column_sum_rows = 8;
constexpr std::int64_t rows_per_sum = 64;
constexpr std::int64_t most_sums = 1024;

// With more rows, a quantised weight is made plain first: the kernels for few rows would read it for every four of
// them.
constexpr std::int64_t most_quantised_rows = 32;

// A design of the product: its kernels end in `suffix`; each threadgroup of so many simdgroups has down × across
// results.
struct TileDesign {
  std::string_view suffix;
  std::int64_t down;
  std::int64_t across;
  std::int64_t simdgroups;
};

// Tiles of the device's side through threadgroup memory by four simdgroups.
constexpr TileDesign staged_design(const msl::TargetTiles& tiles) {
  return {"staged", tiles.product_side, tiles.product_side, 4};
}

// 32×32 by each simdgroup straight from device memory: one, two below one another, or two by two.
constexpr TileDesign direct_design(std::int64_t simdgroups) {
  const std::int64_t down = std::min<std::int64_t>(simdgroups, 2);
  return {"direct", 32 * down, 32 * (simdgroups / down), simdgroups};
}

// Tiles reach up to a side less one beyond a size, which 32 bits must hold.
std::uint32_t side(std::int64_t size, std::string_view operation) {
  constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
  if (size > largest) {
    fail(ErrorKind::input, "{}: a side of {} rows or columns is more than a product's {}.", operation, size, largest);
  }
  return static_cast<std::uint32_t>(size);
}

struct Product {
  std::string kernel;
  msl::GridSize groups;
  msl::GridSize threads;
};

// The kernel, without its dtypes, and launch of a product of [rows, columns] results, of which the direct design takes
// so many at most, by so many simdgroups a group.
Product product(const msl::TargetTiles& tiles, std::int64_t direct_results, std::int64_t direct_simdgroups,
                std::string_view operation, std::int64_t rows, std::int64_t columns) {
  // rows · columns may be more than 64 bits hold.
  const bool is_direct = columns == 0 || rows <= direct_results / columns;
  const TileDesign design = is_direct ? direct_design(direct_simdgroups) : staged_design(tiles);
  const std::int64_t down = msl::group_count(rows, design.down);
  const std::int64_t across = msl::group_count(columns, design.across);
  return {std::string(operation) + "_" + std::string(design.suffix),
          {msl::group_count(down * across, 1), 1, 1},
          {static_cast<std::uint32_t>(design.simdgroups * msl::simdgroup_width), 1, 1}};
}

}  // namespace

void MslBackend::multiply_unpacked(const MatmulForward& op) {
  const std::int64_t inner = op.in.shape()[-1];
  const msl::Scratch plain = scratch(op.in.dtype(), {op.weight.outputs(), inner});
  const Tensor& weight = op.weight.values;
  const UnpackArgs args = {.count = static_cast<std::uint64_t>(plain.tensor().elements()),
                           .aligned = msl::aligned_rows(inner, plain.tensor(), weight),
                           .reserved = 0};
  // A thread has sixteen bytes of the weight.
  encode(msl::kernel_name("unpack_weight", op.in.dtype(), weight.dtype()))
      .buffer(0, plain)
      .buffer(1, weight)
      .buffer(2, op.weight.scales)
      .bytes(3, args)
      .dispatch_spans(static_cast<std::int64_t>(weight.bytes()) / 16 * msl::span_width, tuning_.span_threads);
  MatmulForward product = op;
  product.weight = plain.tensor();
  execute(product);
}

void MslBackend::execute(const MatmulForward& op) {
  if (op.out.elements() == 0) return;
  if (op.weight.scales && op.in.elements() != 0 && op.in.shape().rows() > most_quantised_rows) {
    multiply_unpacked(op);
    return;
  }
  const Tensor& weight = op.weight.values;
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t columns = weight.shape()[0];
  const std::int64_t inner = weight.shape()[1];
  if (op.weight.scales || (rows <= tuning_.few_rows && !op.pre_activation)) {
    msl::encode_matvec(*recorder_, tuning_,
                       {.out = op.out, .in = op.in, .weight = op.weight, .bias = op.bias, .activation = op.activation});
    return;
  }
  const MatmulArgs args = {.rows = side(rows, "matmul_forward"),
                           .columns = side(columns, "matmul_forward"),
                           .inner = side(inner, "matmul_forward"),
                           .a_aligned = msl::aligned_rows(inner, op.in),
                           .b_aligned = msl::aligned_rows(inner, weight),
                           .out_aligned = msl::aligned_rows(columns, op.out, op.pre_activation),
                           .activation = static_cast<std::uint32_t>(op.activation),
                           .has_bias = op.bias ? 1u : 0u,
                           .bias_type = msl::any_float_type(op.bias),
                           .has_pre = op.pre_activation ? 1u : 0u,
                           .accumulate = 0};
  const Product launch = product(limits().tiles, tuning_.direct_results_forward, tuning_.direct_simdgroups,
                                 "matmul_forward", rows, columns);
  msl::Encoder encoder = encode(msl::kernel_name(launch.kernel, op.in.dtype(), weight.dtype()));
  encoder.buffer(0, op.out).optional(1, op.pre_activation).buffer(2, op.in).buffer(3, weight);
  msl::bind_any_float(encoder, 4, op.bias);
  encoder.bytes(5, args).work(op.flops()).dispatch(launch.groups, launch.threads);
}

void MslBackend::execute(const FusedProduct& op) {
  if (op.out.elements() == 0) return;
  const std::int64_t most_rows = op.weight.scales ? most_quantised_rows : tuning_.few_rows;
  if (op.in.shape().rows() <= most_rows && msl::matvec_takes(op)) {
    msl::encode_matvec(*recorder_, tuning_, op);
    return;
  }
  multiply_unfused(op);
}

void MslBackend::multiply_unfused(const FusedProduct& op) {
  MatmulForward product = {
      .out = op.out, .in = op.in, .weight = op.weight, .bias = op.bias, .activation = op.activation};
  std::optional<msl::Scratch> normalized;
  if (op.norm_weight) {
    product.in = normalized.emplace(scratch(op.in.dtype(), op.in.shape()));
    execute(ResidualNormForward{
        .out = product.in, .residual = op.in, .weight = op.norm_weight, .bias = op.norm_bias, .kind = op.norm});
  }
  std::optional<msl::Scratch> added;
  if (op.accumulate) product.out = added.emplace(scratch(op.out.dtype(), op.out.shape()));
  execute(product);
  if (op.accumulate) execute(Add{.out = op.out, .in = product.out});
}

void MslBackend::execute(const MatmulBackwardInput& op) {
  if (op.din.elements() == 0) return;
  const std::int64_t rows = op.dout.shape().rows();
  const std::int64_t columns = op.weight.shape()[1];
  const std::int64_t inner = op.weight.shape()[0];
  const MatmulArgs args = {.rows = side(rows, "matmul_backward_input"),
                           .columns = side(columns, "matmul_backward_input"),
                           .inner = side(inner, "matmul_backward_input"),
                           .a_aligned = msl::aligned_rows(inner, op.dout),
                           .b_aligned = msl::aligned_rows(columns, op.weight),
                           .out_aligned = msl::aligned_rows(columns, op.din, op.pre_activation),
                           .activation = static_cast<std::uint32_t>(op.activation),
                           .has_bias = 0,
                           .bias_type = 0,
                           .has_pre = op.pre_activation ? 1u : 0u,
                           .accumulate = op.accumulate ? 1u : 0u};
  const Product launch =
      product(limits().tiles, tuning_.direct_results_input, tuning_.direct_simdgroups, "matmul_input", rows, columns);
  encode(msl::kernel_name(launch.kernel, op.din.dtype()))
      .buffer(0, op.din)
      .buffer(1, op.dout)
      .buffer(2, op.weight)
      .optional(3, op.pre_activation)
      .bytes(4, args)
      .work(op.flops(), op.accumulate ? op.din.bytes() : 0)
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::execute(const MatmulBackwardWeight& op) {
  const std::int64_t inner = op.dout.shape().rows();
  const std::int64_t rows = op.dweight.shape()[0];
  const std::int64_t columns = op.dweight.shape()[1];
  // Nothing is added from no rows.
  if (inner == 0 || rows == 0) return;
  if (columns != 0) {
    const MatmulArgs args = {.rows = side(rows, "matmul_backward_weight"),
                             .columns = side(columns, "matmul_backward_weight"),
                             .inner = side(inner, "matmul_backward_weight"),
                             .a_aligned = msl::aligned_rows(rows, op.dout),
                             .b_aligned = msl::aligned_rows(columns, op.in),
                             .out_aligned = msl::aligned_rows(columns, op.dweight),
                             .activation = 0,
                             .has_bias = 0,
                             .bias_type = 0,
                             .has_pre = 0,
                             .accumulate = 1};
    const Product launch = product(limits().tiles, tuning_.direct_results_weight, tuning_.direct_simdgroups,
                                   "matmul_weight", rows, columns);
    encode(msl::kernel_name(launch.kernel, op.dweight.dtype()))
        .buffer(0, op.dweight)
        .buffer(1, op.dout)
        .buffer(2, op.in)
        .bytes(3, args)
        .work(op.flops(), op.dweight.bytes())
        .dispatch(launch.groups, launch.threads);
  }
  if (op.dbias) add_column_sums("matmul_backward_weight", op.dbias, op.dout);
}

void MslBackend::add_column_sums(std::string_view operation, const Tensor& sums, const Tensor& in) {
  const std::int64_t rows = in.shape().rows();
  const std::int64_t columns = in.shape()[-1];
  const std::int64_t each = std::max(rows_per_sum, (rows + most_sums - 1) / most_sums);
  const std::uint32_t parts = msl::group_count(rows, each);
  const ColumnSumArgs args = {.rows = side(rows, operation),
                              .columns = side(columns, operation),
                              .rows_per_part = static_cast<std::uint32_t>(each),
                              .parts = parts,
                              .aligned = msl::aligned_rows(columns, in)};
  const msl::Scratch partial = scratch(DType::f32, {parts, columns});
  encode(msl::kernel_name("column_sums", in.dtype()))
      .buffer(0, partial)
      .buffer(1, in)
      .bytes(2, args)
      .work(static_cast<double>(in.elements()))
      .dispatch({msl::group_count(columns, msl::simdgroup_width * msl::span_width), parts, 1},
                {32, column_sum_rows, 1});
  encode(msl::kernel_name("column_sums_join", sums.dtype()))
      .buffer(0, sums)
      .buffer(1, partial)
      .bytes(2, args)
      .dispatch({msl::group_count(columns, msl::join_columns)}, {msl::join_columns, msl::join_rows});
}

}  // namespace mslt
