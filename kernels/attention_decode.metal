// Attention of few queries over the paged cache: the cache is split among simdgroups, whose results are then joined.
#include <metal_stdlib>

#include "attention_decode_args.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// A simdgroup looks at so many positions at a time, each with so many lanes.
constant constexpr uint decode_positions = 4;
constant constexpr uint decode_lanes = 8;

// Split `split` of query row `row` and head `head` leaves in partial[(row · H + head) · splits + split] its sum of
// values weighted by exp(score - largest), head_size of them, then the largest score and the sum of weights. A split
// without positions leaves zeros under the lowest score. For head sizes up to 64 · spans. Threadgroups of whole
// simdgroups, one a split.
template <typename T, typename C, uint spans>
kernel void attention_decode_split(device float* partial [[buffer(0)]], device const T* qkv [[buffer(1)]],
                                   device const C* keys [[buffer(2)]], device const C* values [[buffer(3)]],
                                   device const int* block_table [[buffer(4)]], device const int* first [[buffer(5)]],
                                   constant AttentionDecodeArgs& args [[buffer(6)]],
                                   uint group [[threadgroup_position_in_grid]],
                                   uint simdgroup [[simdgroup_index_in_threadgroup]],
                                   uint simdgroups [[simdgroups_per_threadgroup]],
                                   uint lane [[thread_index_in_simdgroup]]) {
  const ulong unit = ulong(group) * simdgroups + simdgroup;
  if (unit >= ulong(args.rows) * args.heads * args.splits) {
    return;
  }
  const uint split = uint(unit % args.splits);
  const uint head = uint(unit / args.splits % args.heads);
  const uint row = uint(unit / args.splits / args.heads);
  const uint sequence = row / args.steps;
  const uint kv_head = head / (args.heads / args.kv_heads);
  const long start = args.has_first != 0 ? long(first[sequence]) : 0;
  const long seen = clamp(start + long(row % args.steps) + 1, long(0), long(args.positions));
  const ulong begin = ulong(split) * args.split_positions;
  const ulong end = min(begin + args.split_positions, ulong(seen));
  const ulong width = ulong(args.kv_heads) * args.head_size;
  const ulong table = ulong(sequence) * (args.positions / args.block_size);
  const uint part = lane % decode_lanes;

  float query[spans * span_width];
  float sums[spans * span_width];
  const ulong query_begin = ulong(row) * args.columns + ulong(head) * args.head_size;
  for (uint s = 0; s < spans; ++s) {
    const uint column = (s * decode_lanes + part) * span_width;
    load_span(qkv, query_begin + column, query_begin + args.head_size, args.aligned, query + s * span_width);
    for (uint k = 0; k < span_width; ++k) {
      sums[s * span_width + k] = 0.0f;
    }
  }
  float largest = -FLT_MAX;
  float total = 0.0f;
  for (ulong position = begin; position < end; position += decode_positions) {
    const ulong own = position + lane / decode_lanes;
    int block = -1;
    if (own < end) {
      block = block_table[table + own / args.block_size];
    }
    const bool wanted = block >= 0 && uint(block) < args.blocks;
    const ulong at =
        wanted ? (ulong(block) * args.block_size + own % args.block_size) * width + ulong(kv_head) * args.head_size : 0;
    float score = 0.0f;
    float span[span_width];
    if (wanted) {
      for (uint s = 0; s < spans; ++s) {
        const uint column = (s * decode_lanes + part) * span_width;
        load_span(keys, at + column, at + args.head_size, args.aligned, span);
        for (uint k = 0; k < span_width; ++k) {
          score += query[s * span_width + k] * span[k];
        }
      }
    }
    score += simd_shuffle_xor(score, 1);
    score += simd_shuffle_xor(score, 2);
    score += simd_shuffle_xor(score, 4);
    if (wanted) {
      const float next = max(largest, score * args.scale);
      const float shrink = exp(largest - next);
      const float weight = exp(score * args.scale - next);
      largest = next;
      total = total * shrink + weight;
      for (uint s = 0; s < spans; ++s) {
        const uint column = (s * decode_lanes + part) * span_width;
        load_span(values, at + column, at + args.head_size, args.aligned, span);
        for (uint k = 0; k < span_width; ++k) {
          sums[s * span_width + k] = sums[s * span_width + k] * shrink + weight * span[k];
        }
      }
    }
  }

  // The lanes that had other positions: each pair joins in both of its lanes alike.
  for (uint mask = decode_lanes; mask < 32; mask *= 2) {
    const float other = simd_shuffle_xor(largest, ushort(mask));
    const float next = max(largest, other);
    const float own_factor = exp(largest - next);
    const float other_factor = exp(other - next);
    largest = next;
    total = total * own_factor + simd_shuffle_xor(total, ushort(mask)) * other_factor;
    for (uint k = 0; k < spans * span_width; ++k) {
      sums[k] = sums[k] * own_factor + simd_shuffle_xor(sums[k], ushort(mask)) * other_factor;
    }
  }
  const ulong target = unit * (args.head_size + 2);
  if (lane < decode_lanes) {
    for (uint k = 0; k < spans * span_width; ++k) {
      const uint column = (k / span_width * decode_lanes + part) * span_width + k % span_width;
      if (column < args.head_size) {
        partial[target + column] = sums[k];
      }
    }
  }
  if (lane == 0) {
    partial[target + args.head_size] = largest;
    partial[target + args.head_size + 1] = total;
  }
}

MSLT_INSTANTIATE(attention_decode_64_f32_f32, attention_decode_split, float, float, 1)
MSLT_INSTANTIATE(attention_decode_64_f32_bf16, attention_decode_split, float, bfloat, 1)
MSLT_INSTANTIATE(attention_decode_64_f32_f16, attention_decode_split, float, half, 1)
MSLT_INSTANTIATE(attention_decode_64_bf16_bf16, attention_decode_split, bfloat, bfloat, 1)
MSLT_INSTANTIATE(attention_decode_64_f16_f16, attention_decode_split, half, half, 1)
MSLT_INSTANTIATE(attention_decode_128_f32_f32, attention_decode_split, float, float, 2)
MSLT_INSTANTIATE(attention_decode_128_f32_bf16, attention_decode_split, float, bfloat, 2)
MSLT_INSTANTIATE(attention_decode_128_f32_f16, attention_decode_split, float, half, 2)
MSLT_INSTANTIATE(attention_decode_128_bf16_bf16, attention_decode_split, bfloat, bfloat, 2)
MSLT_INSTANTIATE(attention_decode_128_f16_f16, attention_decode_split, half, half, 2)
MSLT_INSTANTIATE(attention_decode_256_f32_f32, attention_decode_split, float, float, 4)
MSLT_INSTANTIATE(attention_decode_256_f32_bf16, attention_decode_split, float, bfloat, 4)
MSLT_INSTANTIATE(attention_decode_256_f32_f16, attention_decode_split, float, half, 4)
MSLT_INSTANTIATE(attention_decode_256_bf16_bf16, attention_decode_split, bfloat, bfloat, 4)
MSLT_INSTANTIATE(attention_decode_256_f16_f16, attention_decode_split, half, half, 4)

// out = the splits of a query row and head joined in their order, zeros where none had a position. Threadgroups of
// whole simdgroups, one a row of a head.
template <typename T>
kernel void attention_decode_join(device T* out [[buffer(0)]], device const float* partial [[buffer(1)]],
                                  constant AttentionDecodeArgs& args [[buffer(2)]],
                                  uint group [[threadgroup_position_in_grid]],
                                  uint simdgroup [[simdgroup_index_in_threadgroup]],
                                  uint simdgroups [[simdgroups_per_threadgroup]],
                                  uint lane [[thread_index_in_simdgroup]]) {
  const ulong unit = ulong(group) * simdgroups + simdgroup;
  if (unit >= ulong(args.rows) * args.heads) {
    return;
  }
  const ulong stride = args.head_size + 2;
  const ulong begin = unit * args.splits * stride;
  float largest = -FLT_MAX;
  for (uint split = 0; split < args.splits; ++split) {
    largest = max(largest, partial[begin + split * stride + args.head_size]);
  }
  float total = 0.0f;
  for (uint split = 0; split < args.splits; ++split) {
    const ulong at = begin + split * stride + args.head_size;
    total += partial[at + 1] * exp(partial[at] - largest);
  }
  const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
  for (uint column = lane; column < args.head_size; column += 32) {
    float sum = 0.0f;
    for (uint split = 0; split < args.splits; ++split) {
      const ulong at = begin + split * stride;
      sum += partial[at + column] * exp(partial[at + args.head_size] - largest);
    }
    out[unit * args.head_size + column] = T(sum * inverse);
  }
}

MSLT_INSTANTIATE(attention_decode_join_f32, attention_decode_join, float)
MSLT_INSTANTIATE(attention_decode_join_bf16, attention_decode_join, bfloat)
MSLT_INSTANTIATE(attention_decode_join_f16, attention_decode_join, half)
