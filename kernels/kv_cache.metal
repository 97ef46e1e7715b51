// Appending to the paged cache of keys and values.
#include <metal_stdlib>

#include "kv_cache_args.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// Stores the keys and values of row (b, t) at position first[b] + t of sequence b, for t < counts[b]. Skips rows
// without a place in the table. Threadgroups of any width, spans along x and rows along y; in the grid, rows are along
// x.
template <typename T, typename C>
kernel void kv_append_rows(device C* keys [[buffer(0)]], device C* values [[buffer(1)]],
                           device const T* qkv [[buffer(2)]], device const int* block_table [[buffer(3)]],
                           device const int* first [[buffer(4)]], device const int* counts [[buffer(5)]],
                           constant KvAppendArgs& args [[buffer(6)]], uint2 group [[threadgroup_position_in_grid]],
                           uint2 position [[thread_position_in_threadgroup]],
                           uint2 threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (row >= args.rows || column >= args.width) {
    return;
  }
  const uint sequence = uint(row) / args.steps;
  const uint step = uint(row) % args.steps;
  const long start = args.has_first != 0 ? long(first[sequence]) : 0;
  const long place = start + long(step);
  const bool wanted = args.has_counts == 0 || long(step) < long(counts[sequence]);
  if (!wanted || place < 0 || place >= long(args.positions)) {
    return;
  }
  const uint table_width = args.positions / args.block_size;
  const int block = block_table[ulong(sequence) * table_width + uint(place) / args.block_size];
  if (block < 0 || uint(block) >= args.blocks) {
    return;
  }
  const ulong from = row * args.columns + args.keys_at;
  const ulong to = (ulong(block) * args.block_size + uint(place) % args.block_size) * args.width;
  float span[span_width];
  load_span(qkv, from + column, from + args.width, args.aligned, span);
  store_span(keys, to + column, to + args.width, args.aligned, span);
  load_span(qkv, from + args.width + column, from + 2 * ulong(args.width), args.aligned, span);
  store_span(values, to + column, to + args.width, args.aligned, span);
}

MSLT_INSTANTIATE(kv_append_f32_f32, kv_append_rows, float, float)
MSLT_INSTANTIATE(kv_append_f32_bf16, kv_append_rows, float, bfloat)
MSLT_INSTANTIATE(kv_append_f32_f16, kv_append_rows, float, half)
MSLT_INSTANTIATE(kv_append_bf16_bf16, kv_append_rows, bfloat, bfloat)
MSLT_INSTANTIATE(kv_append_f16_f16, kv_append_rows, half, half)
