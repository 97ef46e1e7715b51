// Argument checks of attention.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {
namespace {

// Fused queries, keys and values [B, T, (H + 2K)·D].
void check_qkv(const Arguments& arguments, const Tensor& qkv, std::string_view name, const AttentionShape& shape) {
  arguments.attention_shape(shape);
  arguments.rank(qkv, name, Elements::floating, 3);
  const std::int64_t width = (std::int64_t{shape.heads} + 2 * std::int64_t{shape.kv_heads}) * shape.head_size;
  arguments.shaped(qkv, name, Elements::floating, {qkv.shape()[0], qkv.shape()[1], width});
}

Shape output_shape(const Tensor& qkv, const AttentionShape& shape) {
  return {qkv.shape()[0], qkv.shape()[1], std::int64_t{shape.heads} * shape.head_size};
}

Shape statistics_shape(const Tensor& qkv, const AttentionShape& shape) {
  return {qkv.shape()[0], shape.heads, qkv.shape()[1]};
}

}  // namespace

void check_attention_forward(const Tensor& out, const Tensor& log_sum_exp, const Tensor& qkv,
                             const AttentionShape& shape, const Dropout& dropout) {
  const Arguments arguments("attention_forward");
  check_qkv(arguments, qkv, "qkv", shape);
  arguments.shaped(out, "out", Elements::floating, output_shape(qkv, shape));
  arguments.same_dtype(out, "out", qkv, "qkv");
  arguments.apart(out, "out", qkv, "qkv");
  if (log_sum_exp) {
    arguments.shaped(log_sum_exp, "log_sum_exp", Elements::f32, statistics_shape(qkv, shape));
    arguments.apart(log_sum_exp, "log_sum_exp", qkv, "qkv");
    arguments.apart(log_sum_exp, "log_sum_exp", out, "out");
  }
  arguments.dropout(dropout);
}

void check_attention_backward(const Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                              const Tensor& log_sum_exp, const AttentionShape& shape, const Dropout& dropout) {
  const Arguments arguments("attention_backward");
  check_qkv(arguments, qkv, "qkv", shape);
  arguments.shaped(dqkv, "dqkv", Elements::floating, qkv.shape());
  arguments.shaped(dout, "dout", Elements::floating, output_shape(qkv, shape));
  arguments.shaped(out, "out", Elements::floating, output_shape(qkv, shape));
  arguments.shaped(log_sum_exp, "log_sum_exp", Elements::f32, statistics_shape(qkv, shape));
  arguments.same_dtype(dqkv, "dqkv", qkv, "qkv");
  arguments.same_dtype(dout, "dout", qkv, "qkv");
  arguments.same_dtype(out, "out", qkv, "qkv");
  arguments.apart(dqkv, "dqkv", qkv, "qkv");
  arguments.apart(dqkv, "dqkv", dout, "dout");
  arguments.apart(dqkv, "dqkv", out, "out");
  arguments.apart(dqkv, "dqkv", log_sum_exp, "log_sum_exp");
  arguments.dropout(dropout);
}

void check_attention_decode(const Tensor& out, const Tensor& qkv, const KvCacheView& cache, const Positions& positions,
                            const AttentionShape& shape) {
  const Arguments arguments("attention_decode");
  check_qkv(arguments, qkv, "qkv", shape);
  arguments.require(shape.causal, "the attention is not causal, but a cache is read causally.");
  arguments.shaped(out, "out", Elements::floating, output_shape(qkv, shape));
  arguments.same_dtype(out, "out", qkv, "qkv");
  arguments.apart(out, "out", qkv, "qkv");
  arguments.positions(positions, qkv.shape()[0]);
  arguments.rank(cache.keys, "cache.keys", Elements::floating, 3);
  const Shape blocks = {cache.keys.shape()[0], KvCacheView::block_size, std::int64_t{shape.kv_heads} * shape.head_size};
  arguments.shaped(cache.keys, "cache.keys", Elements::floating, blocks);
  arguments.shaped(cache.values, "cache.values", Elements::floating, blocks);
  arguments.same_dtype(cache.values, "cache.values", cache.keys, "cache.keys");
  arguments.kept_dtype(cache.keys, "cache.keys", qkv, "qkv");
  arguments.apart(out, "out", cache.keys, "cache.keys");
  arguments.apart(out, "out", cache.values, "cache.values");
  arguments.rank(cache.block_table, "cache.block_table", Elements::i32, 2);
  arguments.shaped(cache.block_table, "cache.block_table", Elements::i32,
                   {qkv.shape()[0], cache.block_table.shape()[1]});
}

}  // namespace mslt
