// Rotary position embedding as half rotation: of a head's P pairs, (x[i], x[i + P]) rotate by
// position · inverse_frequencies[i].
#include <metal_stdlib>

#include "lib/instantiate.h"
#include "lib/raw_span.h"
#include "rope_args.h"

using namespace metal;

// Most angles per threadgroup.
constant constexpr uint rope_angles = 512;

// Spans of pairs in flight per thread.
template <typename T>
struct RopeBatch {
  static constant constexpr uint size = 8 / sizeof(T);
};

// The position of unit `unit` of a threadgroup: a span of pairs of one head of one row.
struct RopePlace {
  ulong low;    // of the first pair's first half
  uint pair;    // the first
  uint angles;  // index of its first angle in the group
};

inline RopePlace rope_place(constant RopeArgs& args, uint unit, uint spans, uint first_row, uint first_pair) {
  const uint span = unit % spans;
  const uint row = unit / spans / args.heads;
  const uint head = unit / spans % args.heads;
  RopePlace place;
  place.pair = first_pair + span * span_width;
  place.low = ulong(first_row + row) * args.columns + ulong(head) * args.head_size + place.pair;
  place.angles = (row * spans + span) * span_width;
  return place;
}

// `turns` are cosines and sines.
inline void turn_pairs(threadgroup const float2* turns, thread float* low, thread float* high) {
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    const float2 turn = turns[k];
    const float x = low[k];
    const float y = high[k];
    low[k] = x * turn.x - y * turn.y;
    high[k] = y * turn.x + x * turn.y;
  }
}

// Rotates the queries and keys of qkv, in place. A threadgroup has args.group_rows rows and up to args.group_spans
// spans of pairs of every head: it computes the angles once for all heads, then its threads take neighbouring spans.
// Threadgroups of one dimension; in the grid, rows are along x and pairs along y.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
kernel void rope_rows(device T* qkv [[buffer(0)]], device const float* inverse_frequencies [[buffer(1)]],
                      device const int* first [[buffer(2)]], constant RopeArgs& args [[buffer(3)]],
                      uint2 group [[threadgroup_position_in_grid]], uint2 position [[thread_position_in_threadgroup]],
                      uint2 threads [[threads_per_threadgroup]]) {
  threadgroup float2 turns[rope_angles];
  const uint first_row = group.x * args.group_rows;
  const uint first_pair = group.y * args.group_spans * span_width;
  const uint rows = min(args.group_rows, args.rows - first_row);
  const uint spans = min(args.group_spans, (args.pairs - first_pair + span_width - 1) / span_width);
  const uint pairs = spans * span_width;
  for (uint i = position.x; i < rows * pairs; i += threads.x) {
    const uint row = first_row + i / pairs;
    const uint pair = first_pair + i % pairs;
    const long start = args.has_first != 0 ? long(first[row / args.steps]) : 0;
    const float place = float(long(row % args.steps) + start);
    const float angle = pair < args.pairs ? place * inverse_frequencies[pair] : 0.0f;
    // Angles go far beyond the range of the fast functions.
    turns[i] = float2(precise::cos(angle) * args.scale, precise::sin(angle) * args.direction * args.scale);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint units = rows * args.heads * spans;
  float low[span_width];
  float high[span_width];
  if (args.aligned == 0) {
    for (uint unit = position.x; unit < units; unit += threads.x) {
      const RopePlace place = rope_place(args, unit, spans, first_row, first_pair);
      const ulong high_at = place.low + args.pairs;
      const ulong low_end = high_at - place.pair;
      load_span(qkv, place.low, low_end, 0u, low);
      load_span(qkv, high_at, low_end + args.pairs, 0u, high);
      turn_pairs(turns + place.angles, low, high);
      store_span(qkv, place.low, low_end, 0u, low);
      store_span(qkv, high_at, low_end + args.pairs, 0u, high);
    }
    return;
  }
  constexpr uint batch = RopeBatch<T>::size;
  for (uint begin = position.x; begin < units; begin += batch * threads.x) {
    RopePlace places[batch];
    Run<T, span_width> raw_low[batch];
    Run<T, span_width> raw_high[batch];
#pragma unroll
    for (uint j = 0; j < batch; ++j) {
      // A thread without further spans reads its first again and does not write it.
      const uint unit = begin + j * threads.x;
      places[j] = rope_place(args, unit < units ? unit : begin, spans, first_row, first_pair);
      fetch_run(qkv + places[j].low, raw_low[j]);
      fetch_run(qkv + places[j].low + args.pairs, raw_high[j]);
    }
#pragma unroll
    for (uint j = 0; j < batch; ++j) {
      if (begin + j * threads.x < units) {
        unpack_raw(raw_low[j], low);
        unpack_raw(raw_high[j], high);
        turn_pairs(turns + places[j].angles, low, high);
        store_aligned(qkv + places[j].low, low);
        store_aligned(qkv + places[j].low + args.pairs, high);
      }
    }
  }
}

MSLT_INSTANTIATE(rope_f32, rope_rows, float)
MSLT_INSTANTIATE(rope_bf16, rope_rows, bfloat)
MSLT_INSTANTIATE(rope_f16, rope_rows, half)
