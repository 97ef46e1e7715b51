// Checks of attention and the cache.
#include "backend/operations/attention.h"

#include "backend/operations/checks.h"

namespace mslt {
namespace {

Shape output_shape(const Tensor& qkv, const AttentionShape& shape) {
  return {qkv.shape()[0], qkv.shape()[1], shape.query_columns()};
}

Shape statistics_shape(const Tensor& qkv, const AttentionShape& shape) {
  return {qkv.shape()[0], shape.heads, qkv.shape()[1]};
}

void check_cache(const Arguments& given, const KvCacheView& cache, const Tensor& qkv, const AttentionShape& shape) {
  given.rank(cache.keys, 3);
  const Shape blocks = {cache.keys.shape()[0], KvCacheView::block_size, shape.key_columns()};
  given.shaped(cache.keys, blocks);
  given.shaped(cache.values, blocks);
  given.rank(cache.block_table, 2);
  given.shaped(cache.block_table, {qkv.shape()[0], cache.block_table.shape()[1]});
}

}  // namespace

void AttentionForward::check(const Arguments& given) const {
  check_qkv(given, qkv, shape);
  given.shaped(out, output_shape(qkv, shape));
  if (log_sum_exp) given.shaped(log_sum_exp, statistics_shape(qkv, shape));
  check_dropout(given, dropout);
}

void AttentionBackward::check(const Arguments& given) const {
  check_qkv(given, qkv, shape);
  given.shaped(dqkv, qkv.shape());
  given.shaped(dout, output_shape(qkv, shape));
  given.shaped(out, output_shape(qkv, shape));
  given.shaped(log_sum_exp, statistics_shape(qkv, shape));
  check_dropout(given, dropout);
}

void KvCacheAppend::check(const Arguments& given) const {
  check_qkv(given, qkv, shape);
  check_cache(given, cache, qkv, shape);
  check_positions(given, positions, qkv.shape()[0]);
  if (counts) given.vector(counts, qkv.shape()[0]);
}

void AttentionDecode::check(const Arguments& given) const {
  check_qkv(given, qkv, shape);
  given.require(shape.causal, "the attention is not causal, but a cache is read causally.");
  given.shaped(out, output_shape(qkv, shape));
  if (inverse_frequencies) check_frequencies(given, inverse_frequencies, shape);
  check_positions(given, positions, qkv.shape()[0]);
  check_cache(given, cache, qkv, shape);
}

}  // namespace mslt
