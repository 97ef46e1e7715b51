// Argument checks of the cache and sampling operations.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {
namespace {

void check_logits(const Arguments& arguments, const Tensor& logits, std::int64_t vocab) {
  arguments.elements(logits, "logits", Elements::floating);
  arguments.require(logits.shape().rank() >= 1 && vocab >= 1 && vocab <= logits.shape()[-1],
                    "vocab is {}, but must be in 1…the number of columns of logits, {}.", vocab, logits.describe());
}

}  // namespace

void check_kv_cache_append(const KvCacheView& cache, const Tensor& qkv, const Positions& positions,
                           const Tensor& counts, const AttentionShape& shape) {
  const Arguments arguments("kv_cache_append");
  arguments.attention_shape(shape);
  arguments.rank(qkv, "qkv", Elements::floating, 3);
  const std::int64_t batch = qkv.shape()[0];
  const std::int64_t columns = (shape.heads + std::int64_t{2} * shape.kv_heads) * shape.head_size;
  arguments.shaped(qkv, "qkv", Elements::floating, {batch, qkv.shape()[1], columns});
  arguments.rank(cache.keys, "cache.keys", Elements::floating, 3);
  const Shape blocks{cache.keys.shape()[0], KvCacheView::block_size, std::int64_t{shape.kv_heads} * shape.head_size};
  arguments.shaped(cache.keys, "cache.keys", Elements::floating, blocks);
  arguments.shaped(cache.values, "cache.values", Elements::floating, blocks);
  arguments.same_dtype(cache.values, "cache.values", cache.keys, "cache.keys");
  arguments.kept_dtype(cache.keys, "cache.keys", qkv, "qkv");
  arguments.apart(cache.values, "cache.values", cache.keys, "cache.keys");
  arguments.rank(cache.block_table, "cache.block_table", Elements::i32, 2);
  arguments.shaped(cache.block_table, "cache.block_table", Elements::i32, {batch, cache.block_table.shape()[1]});
  arguments.positions(positions, batch);
  if (counts) arguments.vector(counts, "counts", Elements::i32, batch);
}

void check_argmax(const Tensor& out, const Tensor& logits, std::int64_t vocab) {
  const Arguments arguments("argmax");
  check_logits(arguments, logits, vocab);
  arguments.vector(out, "out", Elements::i32, logits.shape().rows());
}

void check_top_k(const Tensor& values, const Tensor& indices, const Tensor& logits, std::int64_t vocab) {
  const Arguments arguments("top_k");
  check_logits(arguments, logits, vocab);
  arguments.elements(values, "values", Elements::f32);
  const std::int64_t k = values.shape().rank() == 0 ? 1 : values.shape()[-1];
  arguments.require(k >= 1 && k <= vocab, "values is {}, but must have rows of 1…{} elements.", values.describe(),
                    vocab);
  arguments.matrix(values, "values", Elements::f32, logits.shape().rows(), k);
  arguments.matrix(indices, "indices", Elements::i32, logits.shape().rows(), k);
}

}  // namespace mslt
