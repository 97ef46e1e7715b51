// Attention over whole sequences as MSL kernels.
#include <string>
#include <utility>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "backend/operations/limits.h"
#include "kernels/attention_args.h"

namespace mslt {
namespace {

// As in kernels/lib/fragment.h and kernels/lib/operand.h.
constexpr std::int64_t rows_a_simdgroup = 8;
constexpr std::int64_t simdgroups = 4;
constexpr std::uint32_t operand_reach = 1u << 26;
constexpr std::uint32_t threads = simdgroups * msl::simdgroup_width;

// The kernel with registers for such heads: attention_forward_64_f32. Throws Error(input) if there is none.
std::string head_kernel(std::string_view operation, std::string_view kernel, const Tensor& qkv,
                        const AttentionShape& shape) {
  for (const int size : {32, 64, 128, 256}) {
    if (shape.head_size <= size) return msl::kernel_name(fmt::format("{}_{}", kernel, size), qkv.dtype());
  }
  fail(ErrorKind::input, "{}: the head size is {}, but the kernels have room for heads of up to {}.", operation,
       shape.head_size, max_head_size);
}

// Whether the device's own tiles are used.
bool has_tiles(const msl::TargetTiles& tiles, const Tensor& qkv, const AttentionShape& shape) {
  return qkv.dtype() != DType::f32 && std::cmp_less_equal(shape.head_size, tiles.attention_head);
}

// `first` and `second` are tensors whose rows of a head are read or written in addition to those of qkv.
AttentionArgs attention_args(std::string_view operation, const msl::TargetTiles& tiles, const Tensor& qkv,
                             const AttentionShape& shape, const Dropout& dropout, bool has_statistics,
                             const Tensor& first, const Tensor& second) {
  const std::int64_t steps = qkv.shape()[1];
  const bool in_reach = qkv.shape()[2] <= operand_reach;
  const std::int64_t rows = has_tiles(tiles, qkv, shape) ? tiles.attention_rows : rows_a_simdgroup;
  return {.batch = msl::count32(qkv.shape()[0], operation),
          .steps = msl::count32(steps, operation),
          .heads = static_cast<std::uint32_t>(shape.heads),
          .kv_heads = static_cast<std::uint32_t>(shape.kv_heads),
          .head_size = static_cast<std::uint32_t>(shape.head_size),
          .columns = msl::count32(qkv.shape()[2], operation),
          .out_columns = msl::count32(std::int64_t{shape.heads} * shape.head_size, operation),
          .aligned = in_reach ? msl::aligned_rows(shape.head_size, qkv, first, second) : 0,
          .blocks = msl::group_count(steps, rows),
          .causal = shape.causal ? 1u : 0u,
          .window = msl::window_of(shape),
          .has_statistics = has_statistics ? 1u : 0u,
          .dropout_operation = dropout.operation,
          .dropout_probability = dropout.probability,
          .dropout_scale = 1.0f / (1.0f - dropout.probability),
          .scale = shape.scale,
          .softcap = shape.softcap};
}

// One threadgroup for each of the device's tiles of each head. Else one simdgroup for each block of rows; all
// simdgroups of a threadgroup for wide heads, since the kernels for heads of 256 have registers for a quarter in each.
msl::GridSize head_groups(const msl::TargetTiles& tiles, const AttentionArgs& args, const Tensor& qkv,
                          const AttentionShape& shape, std::int64_t heads) {
  const std::int64_t blocks = has_tiles(tiles, qkv, shape) || args.head_size > 128 ? 1 : simdgroups;
  return {msl::group_count(std::int64_t{args.batch} * heads * args.blocks, blocks), 1, 1};
}

}  // namespace

void MslBackend::execute(const AttentionForward& op) {
  const std::string kernel = head_kernel("attention_forward", "attention_forward", op.qkv, op.shape);
  if (op.qkv.elements() == 0) return;
  const AttentionArgs args = attention_args("attention_forward", limits().tiles, op.qkv, op.shape, op.dropout,
                                            static_cast<bool>(op.log_sum_exp), op.out, {});
  encode(kernel)
      .buffer(0, op.out)
      .optional(1, op.log_sum_exp)
      .buffer(2, op.qkv)
      .optional(3, op.dropout.random_state)
      .bytes(4, args)
      .work(op.flops())
      .dispatch(head_groups(limits().tiles, args, op.qkv, op.shape, op.shape.heads), {threads, 1, 1});
}

void MslBackend::execute(const AttentionBackward& op) {
  const std::string query_kernel = head_kernel("attention_backward", "attention_query_gradient", op.qkv, op.shape);
  const std::string key_kernel = head_kernel("attention_backward", "attention_key_gradient", op.qkv, op.shape);
  if (op.qkv.elements() == 0) return;
  const AttentionArgs args =
      attention_args("attention_backward", limits().tiles, op.qkv, op.shape, op.dropout, true, op.dqkv, op.dout);
  // Both kernels recompute the probabilities and their gradients: seven products instead of five.
  const msl::Scratch products = scratch(DType::f32, op.log_sum_exp.shape());
  encode(msl::kernel_name("attention_row_products", op.qkv.dtype()))
      .buffer(0, products)
      .buffer(1, op.dout)
      .buffer(2, op.out)
      .bytes(3, args)
      .work(2.0 * static_cast<double>(op.dout.elements()))
      .dispatch({msl::group_count(op.log_sum_exp.elements(), simdgroups), 1, 1}, {threads, 1, 1});
  encode(query_kernel)
      .buffer(0, op.dqkv)
      .buffer(1, op.dout)
      .buffer(2, op.qkv)
      .buffer(3, op.log_sum_exp)
      .buffer(4, products)
      .optional(5, op.dropout.random_state)
      .bytes(6, args)
      .work(3.0 / 5.0 * op.flops())
      .dispatch(head_groups(limits().tiles, args, op.qkv, op.shape, op.shape.heads), {threads, 1, 1});
  encode(key_kernel)
      .buffer(0, op.dqkv)
      .buffer(1, op.dout)
      .buffer(2, op.qkv)
      .buffer(3, op.log_sum_exp)
      .buffer(4, products)
      .optional(5, op.dropout.random_state)
      .bytes(6, args)
      .work(4.0 / 5.0 * op.flops())
      .dispatch(head_groups(limits().tiles, args, op.qkv, op.shape, op.shape.kv_heads), {threads, 1, 1});
}

}  // namespace mslt
