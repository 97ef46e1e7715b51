// Appending to the paged key/value cache as an MSL kernel.
//
// Positions and block tables are in device memory: rows without a place there are skipped, not reported.
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/kv_cache_args.h"

namespace mslt {

void MslBackend::execute(const KvCacheAppend& op) {
  if (op.qkv.elements() == 0 || op.cache.keys.elements() == 0 || op.cache.block_table.elements() == 0) return;
  const std::int64_t columns = op.qkv.shape()[2];
  const std::int64_t keys_at = std::int64_t{op.shape.heads} * op.shape.head_size;
  const std::int64_t width = std::int64_t{op.shape.kv_heads} * op.shape.head_size;
  const bool whole = columns % msl::span_width == 0 && keys_at % msl::span_width == 0;
  const KvAppendArgs args = {
      .rows = msl::count32(op.qkv.shape().rows(), "kv_cache_append"),
      .steps = msl::count32(op.qkv.shape()[1], "kv_cache_append"),
      .columns = msl::count32(columns, "kv_cache_append"),
      .keys_at = msl::count32(keys_at, "kv_cache_append"),
      .width = msl::count32(width, "kv_cache_append"),
      .blocks = msl::count32(op.cache.keys.shape()[0], "kv_cache_append"),
      .positions = msl::count32(op.cache.block_table.shape()[1] * KvCacheView::block_size, "kv_cache_append"),
      .block_size = KvCacheView::block_size,
      .aligned = whole ? msl::aligned_rows(width, op.qkv, op.cache.keys, op.cache.values) : 0u,
      .has_first = op.positions.first ? 1u : 0u,
      .has_counts = op.counts ? 1u : 0u};
  encode(msl::kernel_name("kv_append", op.qkv.dtype(), op.cache.keys.dtype()))
      .buffer(0, op.cache.keys)
      .buffer(1, op.cache.values)
      .buffer(2, op.qkv)
      .buffer(3, op.cache.block_table)
      .optional(4, op.positions.first)
      .optional(5, op.counts)
      .bytes(6, args)
      .dispatch_tiles(args.rows, width, tuning_.tile_threads);
}

}  // namespace mslt
