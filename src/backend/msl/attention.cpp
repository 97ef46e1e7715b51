// Attention over whole sequences as MSL kernels.
#include <string>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/attention_args.h"

namespace mslt {
namespace {

// As kernels/lib/fragment.h and kernels/lib/operand.h have it.
constexpr std::int64_t rows_a_simdgroup = 8;
constexpr std::int64_t simdgroups = 4;
constexpr std::uint32_t operand_reach = 1u << 26;
constexpr std::uint32_t threads = simdgroups * msl::simdgroup_width;

// The kernel that has registers for such heads: attention_forward_64_f32. Throws Error(input) where none has.
std::string head_kernel(std::string_view operation, std::string_view kernel, const Tensor& qkv,
                        const AttentionShape& shape) {
  for (const int size : {32, 64, 128, 256}) {
    if (shape.head_size <= size) return msl::kernel_name(fmt::format("{}_{}", kernel, size), qkv.dtype());
  }
  fail(ErrorKind::input, "{}: the head size is {}, but the kernels have room for heads of up to 256.", operation,
       shape.head_size);
}

// `first` and `second` are tensors whose rows of a head are read or written beside those of qkv.
AttentionArgs attention_args(std::string_view operation, const Tensor& qkv, const AttentionShape& shape,
                             const Dropout& dropout, bool has_statistics, const Tensor& first, const Tensor& second) {
  const std::int64_t steps = qkv.shape()[1];
  const bool in_reach = qkv.shape()[2] <= operand_reach;
  return {.batch = msl::count32(qkv.shape()[0], operation),
          .steps = msl::count32(steps, operation),
          .heads = static_cast<std::uint32_t>(shape.heads),
          .kv_heads = static_cast<std::uint32_t>(shape.kv_heads),
          .head_size = static_cast<std::uint32_t>(shape.head_size),
          .columns = msl::count32(qkv.shape()[2], operation),
          .out_columns = msl::count32(std::int64_t{shape.heads} * shape.head_size, operation),
          .aligned = in_reach ? msl::aligned_rows(shape.head_size, qkv, first, second) : 0,
          .blocks = msl::group_count(steps, rows_a_simdgroup),
          .causal = shape.causal ? 1u : 0u,
          .has_statistics = has_statistics ? 1u : 0u,
          .dropout_operation = dropout.operation,
          .dropout_probability = dropout.probability,
          .dropout_scale = 1.0f / (1.0f - dropout.probability),
          .scale = shape.scale};
}

// A simdgroup for each of so many heads' blocks of rows, and all of a threadgroup's where heads are wide: the kernels
// for heads of 256 have registers for a quarter in each.
msl::GridSize head_groups(const AttentionArgs& args, std::int64_t heads) {
  const std::int64_t blocks = args.head_size > 128 ? 1 : simdgroups;
  return {msl::group_count(std::int64_t{args.batch} * heads * args.blocks, blocks), 1, 1};
}

// FLOPs of one multiplication and addition for every channel of every pair of positions that meet.
double pair_flops(const AttentionArgs& args, const AttentionShape& shape) {
  const auto steps = static_cast<double>(args.steps);
  const double pairs = shape.causal ? steps * (steps + 1.0) / 2.0 : steps * steps;
  return 2.0 * static_cast<double>(args.batch) * shape.heads * shape.head_size * pairs;
}

}  // namespace

void MslBackend::attention_forward(const Tensor& out, const Tensor& log_sum_exp, const Tensor& qkv,
                                   const AttentionShape& shape, const Dropout& dropout) {
  check_attention_forward(out, log_sum_exp, qkv, shape, dropout);
  const std::string kernel = head_kernel("attention_forward", "attention_forward", qkv, shape);
  if (qkv.elements() == 0) return;
  const AttentionArgs args =
      attention_args("attention_forward", qkv, shape, dropout, static_cast<bool>(log_sum_exp), out, {});
  encode(kernel)
      .buffer(0, out)
      .optional(1, log_sum_exp)
      .buffer(2, qkv)
      .optional(3, dropout.random_state)
      .bytes(4, args)
      .work(2.0 * pair_flops(args, shape))
      .dispatch(head_groups(args, shape.heads), {threads, 1, 1});
}

void MslBackend::attention_backward(const Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                                    const Tensor& log_sum_exp, const AttentionShape& shape, const Dropout& dropout) {
  check_attention_backward(dqkv, dout, qkv, out, log_sum_exp, shape, dropout);
  const std::string query_kernel = head_kernel("attention_backward", "attention_query_gradient", qkv, shape);
  const std::string key_kernel = head_kernel("attention_backward", "attention_key_gradient", qkv, shape);
  if (qkv.elements() == 0) return;
  const AttentionArgs args = attention_args("attention_backward", qkv, shape, dropout, true, dqkv, dout);
  const msl::Scratch products = scratch(DType::f32, log_sum_exp.shape());
  encode(msl::kernel_name("attention_row_products", qkv.dtype()))
      .buffer(0, products)
      .buffer(1, dout)
      .buffer(2, out)
      .bytes(3, args)
      .work(2.0 * static_cast<double>(dout.elements()))
      .dispatch({msl::group_count(log_sum_exp.elements(), simdgroups), 1, 1}, {threads, 1, 1});
  encode(query_kernel)
      .buffer(0, dqkv)
      .buffer(1, dout)
      .buffer(2, qkv)
      .buffer(3, log_sum_exp)
      .buffer(4, products)
      .optional(5, dropout.random_state)
      .bytes(6, args)
      .work(3.0 * pair_flops(args, shape))
      .dispatch(head_groups(args, shape.heads), {threads, 1, 1});
  encode(key_kernel)
      .buffer(0, dqkv)
      .buffer(1, dout)
      .buffer(2, qkv)
      .buffer(3, log_sum_exp)
      .buffer(4, products)
      .optional(5, dropout.random_state)
      .bytes(6, args)
      .work(4.0 * pair_flops(args, shape))
      .dispatch(head_groups(args, shape.kv_heads), {threads, 1, 1});
}

}  // namespace mslt
