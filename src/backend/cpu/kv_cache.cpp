// Appending to the paged key/value cache on the CPU.
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "base/fail.h"

namespace mslt {
namespace {

// The cache's row number for row (b, t). Throws Error(input) if the table has no such place.
std::int64_t cache_row(const KvCacheView& cache, std::int64_t sequence, std::int64_t position) {
  const std::int64_t width = cache.block_table.shape()[1];
  const std::int64_t blocks = cache.keys.shape()[0];
  const std::int64_t entry = position / KvCacheView::block_size;
  if (position < 0 || entry >= width) {
    fail(ErrorKind::input, "kv_cache_append: position {} of sequence {} lies outside the {} positions of its blocks.",
         position, sequence, width * KvCacheView::block_size);
  }
  const std::int64_t block = cache.block_table.host<std::int32_t>()[static_cast<std::size_t>(sequence * width + entry)];
  if (block < 0 || block >= blocks) {
    fail(ErrorKind::input, "kv_cache_append: cache.block_table has block {} for sequence {}; there are {} blocks.",
         block, sequence, blocks);
  }
  return block * KvCacheView::block_size + position % KvCacheView::block_size;
}

}  // namespace

void CpuBackend::execute(const KvCacheAppend& op) {
  const std::int64_t sequences = op.qkv.shape()[0];
  const std::int64_t steps = op.qkv.shape()[1];
  const std::int64_t columns = op.qkv.shape()[2];
  const std::int64_t width = std::int64_t{op.shape.kv_heads} * op.shape.head_size;
  const std::int64_t keys_at = std::int64_t{op.shape.heads} * op.shape.head_size;
  // All places are looked up first, so a wrong table changes nothing.
  std::vector<std::int64_t> places(static_cast<std::size_t>(sequences * steps), -1);
  for (std::int64_t b = 0; b < sequences; ++b) {
    const auto sequence = static_cast<std::size_t>(b);
    const std::int64_t count =
        op.counts ? std::min<std::int64_t>(op.counts.host<std::int32_t>()[sequence], steps) : steps;
    const std::int64_t first = op.positions.first ? op.positions.first.host<std::int32_t>()[sequence] : 0;
    for (std::int64_t t = 0; t < count; ++t) {
      places[static_cast<std::size_t>(b * steps + t)] = cache_row(op.cache, b, first + t);
    }
  }
  const FloatData from(op.qkv);
  const FloatData keys(op.cache.keys);
  const FloatData values(op.cache.values);
  const Cost cost = Cost{.bytes = 8} * (2 * width);
  for_blocks(sequences * steps, rows_for(2 * width, 4 * element_block), cost,
             [&](std::int64_t begin, std::int64_t count) {
               std::vector<float> buffer(from.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(width));
               for (std::int64_t row = begin; row < begin + count; ++row) {
                 const std::int64_t place = places[static_cast<std::size_t>(row)];
                 if (place < 0) continue;
                 const std::int64_t at = row * columns + keys_at;
                 narrow(keys.at(place * width), keys.dtype(), from.read(at, width, buffer.data()), width);
                 narrow(values.at(place * width), values.dtype(), from.read(at + width, width, buffer.data()), width);
               }
             });
}

}  // namespace mslt
