// What the attention kernels share: where heads lie in fused rows, and scores of eight queries and up to 32 keys.
#pragma once

#include "attention_args.h"
#include "lib/dropout.h"
#include "lib/fragment.h"

// Fragments side by side of keys (forward, dQ) or queries (dK and dV) that are taken at a time.
constant constexpr uint attention_fragments = 4;
constant constexpr uint attention_step = 32;

// Where a head's part of row 0 of sequence `batch` begins in qkv, and in out.
inline ulong query_at(constant AttentionArgs& args, uint sequence, uint head) {
  return ulong(sequence) * args.steps * args.columns + ulong(head) * args.head_size;
}

inline ulong key_at(constant AttentionArgs& args, uint sequence, uint kv_head) {
  return query_at(args, sequence, args.heads + kv_head);
}

inline ulong value_at(constant AttentionArgs& args, uint sequence, uint kv_head) {
  return query_at(args, sequence, args.heads + args.kv_heads + kv_head);
}

inline ulong out_at(constant AttentionArgs& args, uint sequence, uint head) {
  return ulong(sequence) * args.steps * args.out_columns + ulong(head) * args.head_size;
}

// Query i sees key j.
inline bool is_visible(constant AttentionArgs& args, uint i, uint j) {
  return i < args.steps && j < args.steps && (args.causal == 0 || j <= i);
}

// scores[n] = the products of rows [row, row + 8) of `left` with rows [first + 8n, first + 8n + 8) of `right`, for
// those n whose rows begin before `end`. Both are [steps, head_size] with their strides.
template <typename T>
inline void multiply_rows(thread simdgroup_float8x8* scores, device const T* left, ulong left_stride, uint row,
                          device const T* right, ulong right_stride, uint first, uint end, constant AttentionArgs& args,
                          uint lane) {
  clear_fragments<attention_fragments>(scores);
  for (uint d = 0; d < args.head_size; d += fragment_width) {
    simdgroup_float8x8 a;
    load_fragment(a, left, left_stride, row, d, args.steps, args.head_size, lane);
#pragma unroll
    for (uint n = 0; n < attention_fragments; ++n) {
      const uint other = first + n * fragment_width;
      if (other < end) {
        simdgroup_float8x8 b;
        load_transposed(b, right, right_stride, other, d, args.steps, args.head_size, lane);
        simdgroup_multiply_accumulate(scores[n], a, b, scores[n]);
      }
    }
  }
}

// sums[d] += weights · rows [first, first + 32) of `right`, in columns [8d, 8d + 8), for d < depth; weights [8, 32].
template <uint depth, typename T>
inline void add_weighted_rows(thread simdgroup_float8x8* sums, thread simdgroup_float8x8* weights,
                              device const T* right, ulong right_stride, uint first, uint end,
                              constant AttentionArgs& args, uint lane) {
#pragma unroll
  for (uint n = 0; n < attention_fragments; ++n) {
    const uint row = first + n * fragment_width;
    if (row < end) {
#pragma unroll
      for (uint d = 0; d < depth; ++d) {
        if (d * fragment_width < args.head_size) {
          simdgroup_float8x8 b;
          load_fragment(b, right, right_stride, row, d * fragment_width, args.steps, args.head_size, lane);
          simdgroup_multiply_accumulate(sums[d], weights[n], b, sums[d]);
        }
      }
    }
  }
}
