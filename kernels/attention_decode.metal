// Attention of few queries over the paged cache: the cache is split among simdgroups, whose results are then joined.
#include <metal_stdlib>

#include "attention_decode_args.h"
#include "lib/instantiate.h"
#include "lib/raw_span.h"
#include "lib/soft_cap.h"
#include "target/overlap.h"

using namespace metal;

// Lanes that share a position, and the positions of a simdgroup at a time.
constant constexpr uint decode_lanes = 8;
constant constexpr uint decode_beside = 32 / decode_lanes;

// Positions per block of the cache.
constant constexpr uint block_size = 16;

// Positions per lane at a time, so that about eight loads are in flight. decode_beside times this number divides a
// block: a step of a simdgroup lies in one block.
template <typename C, uint spans>
struct DecodeStep {
  static constant constexpr uint each = sizeof(C) == 2 ? 4 / spans : (spans == 4 ? 1 : 2 / spans);
};

// The initial maximum of scores, and the score of a missing position: its weight under any maximum is 0.
constant constexpr float lowest_score = -0.25f * FLT_MAX;
constant constexpr float absent_score = -FLT_MAX;

// Threadgroup memory for the partial results of its simdgroups: for each, the sums of a head's columns, the largest
// score and the sum of weights.
constant constexpr uint decode_simdgroups = 8;

// The most pairs that a head rotates.
constant constexpr uint decode_pairs = 128;

// Rotates a lane's spans of a head, whose other halves `partner` has, by turns of cosines and sines.
template <uint spans>
inline void rotate_head(thread float* x, thread const float* partner, threadgroup const float2* turns, uint part,
                        uint head_size) {
  const uint middle = head_size / 2;
#pragma unroll
  for (uint s = 0; s < spans; ++s) {
    const uint column = (s * decode_lanes + part) * span_width;
    // Past the head's end, all are zeros and any turn will do.
    const uint pair = column < middle ? column : (column < head_size ? column - middle : 0u);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      const float2 turn = turns[pair + k];
      const float turned = partner[s * span_width + k] * turn.y;
      const float kept = x[s * span_width + k] * turn.x;
      x[s * span_width + k] = column < middle ? kept - turned : kept + turned;
    }
  }
}

// A lane's spans of the head at `begin`, and with `other` of the other half of each; zeros past the head's end.
template <uint spans, typename T>
inline void load_head(device const T* qkv, ulong begin, uint part, bool other, constant AttentionDecodeArgs& args,
                      thread float* values) {
  const uint middle = args.head_size / 2;
#pragma unroll
  for (uint s = 0; s < spans; ++s) {
    const uint column = (s * decode_lanes + part) * span_width;
    const uint from = other ? (column < middle ? column + middle : column - middle) : column;
    Run<T, span_width> raw;
    fetch_span(qkv, begin + from, begin + (column < args.head_size ? args.head_size : 0u), args.aligned, raw);
    unpack_raw(raw, values + s * span_width);
  }
}

// More rows fill a device, and asking then only takes time.
constant constexpr uint most_asking_rows = 4;

// Asks for the keys and values that a simdgroup will read. A table or a length that is out of date does no harm.
template <typename C>
inline void ask_for_cache(device const C* keys, device const C* values, device const int* table, int first, uint begin,
                          uint end, uint step, uint together, uint kv_head, uint lane,
                          constant AttentionDecodeArgs& args) {
  const ulong width = ulong(args.kv_heads) * args.head_size;
  const uint place = lane % block_size;
  const uint known = min(end, first < 0 ? 0u : uint(first));
  for (uint position = begin; position < known; position += together) {
    const int block = peek_ahead(table + position / block_size);
    const uint from = position % block_size;
    if (block >= 0 && uint(block) < args.blocks && place >= from && place < from + step) {
      const ulong at = (ulong(block) * block_size + place) * width + ulong(kv_head) * args.head_size;
      ask_ahead((lane < block_size ? keys : values) + at, ulong(args.head_size) * sizeof(C));
    }
  }
}

// Attention of query row `row` and head `head` over split `split` of the cache: one threadgroup each, of at most
// decode_simdgroups whole simdgroups, which share the split's positions. With one split, out = the values weighted by
// exp(score - largest) over the sum of the weights, zeros without positions. Otherwise partial[(row · H + head) ·
// splits + split] = the head_size sums of weighted values, then the largest score and the sum of weights; a split
// without positions stores zeros and the lowest score. For head sizes up to 64 · spans. With args.appends, which is for
// one row a sequence, the row's own key and value come from qkv, rounded as the cache has them; the first head of those
// that share them stores them. Nobody reads them from the cache.
template <typename T, typename C, uint spans>
[[max_total_threads_per_threadgroup(256)]]
kernel void attention_decode_split(
    device T* out [[buffer(0)]], device float* partial [[buffer(1)]], device const T* qkv [[buffer(2)]],
    device C* keys [[buffer(3)]], device C* values [[buffer(4)]], device const int* block_table [[buffer(5)]],
    device const int* first [[buffer(6)]], constant AttentionDecodeArgs& args [[buffer(7)]],
    device const float* inverse_frequencies [[buffer(8)]], uint unit [[threadgroup_position_in_grid]],
    uint thread_position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint simdgroups [[simdgroups_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  constexpr uint each = DecodeStep<C, spans>::each;
  constexpr uint step = each * decode_beside;
  constexpr uint stride = 64 * spans + 2;
  threadgroup float joined[decode_simdgroups * stride];
  threadgroup float2 turns[decode_pairs];
  const uint split = unit % args.splits;
  const uint head = unit / args.splits % args.heads;
  const uint row = unit / args.splits / args.heads;
  const uint sequence = row / args.steps;
  const uint kv_head = head / (args.heads / args.kv_heads);
  const ulong width = ulong(args.kv_heads) * args.head_size;
  const ulong table = ulong(sequence) * (args.positions / block_size);
  const uint part = lane % decode_lanes;
  const uint begin = split * args.split_positions + simdgroup * step;
  if (asks_ahead && args.has_first != 0 && args.rows <= most_asking_rows) {
    ask_for_cache(keys, values, block_table + table, peek_ahead(first + sequence), begin,
                  min((split + 1) * args.split_positions, args.positions), step, step * simdgroups, kv_head, lane,
                  args);
  }
  wait_for_earlier_kernels();
  // Issues all loads that the first keys depend on at once: the first step's block (before it is known to exist), the
  // sequence's length, and the query.
  int next_block = block_table[table + min(begin, args.positions - 1) / block_size];
  const int asked_first = args.has_first != 0 ? first[sequence] : 0;
  Run<T, span_width> raw_query[spans];
  const ulong query_begin = ulong(row) * args.columns + ulong(head) * args.head_size;
#pragma unroll
  for (uint s = 0; s < spans; ++s) {
    const uint column = (s * decode_lanes + part) * span_width;
    fetch_span(qkv, query_begin + column, query_begin + args.head_size, args.aligned, raw_query[s]);
  }
  const uint seen = uint(clamp(long(asked_first) + long(row % args.steps) + 1, long(0), long(args.positions)));
  // The last one seen is the row's own, if it has a place.
  const bool has_own = args.appends != 0 && asked_first >= 0 && uint(asked_first) < args.positions;
  const uint end = min((split + 1) * args.split_positions, has_own ? seen - 1 : seen);
  const int own_block = has_own ? block_table[table + (seen - 1) / block_size] : -1;
  const uint low = seen - min(seen, args.window);
  const uint together = step * simdgroups;
  uint start = begin;
  if (low > begin) {
    start += (low - begin) / together * together;
    next_block = block_table[table + min(start, args.positions - 1) / block_size];
  }

  float query[spans * span_width];
  float sums[spans * span_width];
#pragma unroll
  for (uint s = 0; s < spans; ++s) {
    unpack_raw(raw_query[s], query + s * span_width);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      sums[s * span_width + k] = 0.0f;
    }
  }
  if (args.rotates != 0) {
    float partner[spans * span_width];
    load_head<spans>(qkv, query_begin, part, true, args, partner);
    for (uint pair = thread_position; pair < args.head_size / 2; pair += threads) {
      const float angle = float(asked_first) * inverse_frequencies[pair];
      // Angles go far beyond the range of the fast functions.
      turns[pair] = float2(precise::cos(angle), precise::sin(angle));
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    rotate_head<spans>(query, partner, turns, part, args.head_size);
  }
  float largest = lowest_score;
  float total = 0.0f;
  for (uint position = start; position < end; position += together) {
    const int block = next_block;
    // A step's block is loaded one step ahead.
    next_block = block_table[table + min(position + together, end - 1) / block_size];
    if (block < 0 || uint(block) >= args.blocks) {
      continue;
    }
    const ulong block_begin = ulong(block) * block_size * width + ulong(kv_head) * args.head_size;
    Run<C, span_width> raw_keys[each * spans];
    Run<C, span_width> raw_values[each * spans];
    // Lanes past the end read the last position, which then does not count.
    ulong at[each];
#pragma unroll
    for (uint j = 0; j < each; ++j) {
      at[j] = block_begin + min(position + j * decode_beside + lane / decode_lanes, end - 1) % block_size * width;
    }
    if (args.aligned != 0) {
#pragma unroll
      for (uint j = 0; j < each; ++j) {
#pragma unroll
        for (uint s = 0; s < spans; ++s) {
          // Columns past the head's end: the query has zeros there, and the sums are not written.
          const uint inside = min((s * decode_lanes + part) * span_width, args.head_size - span_width);
          fetch_run(keys + at[j] + inside, raw_keys[j * spans + s]);
          fetch_run(values + at[j] + inside, raw_values[j * spans + s]);
        }
      }
    } else {
#pragma unroll
      for (uint j = 0; j < each; ++j) {
#pragma unroll
        for (uint s = 0; s < spans; ++s) {
          const uint column = (s * decode_lanes + part) * span_width;
          fetch_each(keys, at[j] + column, at[j] + args.head_size, raw_keys[j * spans + s]);
          fetch_each(values, at[j] + column, at[j] + args.head_size, raw_values[j * spans + s]);
        }
      }
    }
    float scores[each];
    float next = largest;
#pragma unroll
    for (uint j = 0; j < each; ++j) {
      float score = 0.0f;
#pragma unroll
      for (uint s = 0; s < spans; ++s) {
        float span[span_width];
        unpack_raw(raw_keys[j * spans + s], span);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          score = fma(query[s * span_width + k], span[k], score);
        }
      }
      score += simd_shuffle_xor(score, 1);
      score += simd_shuffle_xor(score, 2);
      score += simd_shuffle_xor(score, 4);
      const uint own = position + j * decode_beside + lane / decode_lanes;
      scores[j] = own >= low && own < end ? soft_cap(score * args.scale, args.softcap) : absent_score;
      next = max(next, scores[j]);
    }
    const float shrink = exp(largest - next);
    largest = next;
    total *= shrink;
#pragma unroll
    for (uint k = 0; k < spans * span_width; ++k) {
      sums[k] *= shrink;
    }
#pragma unroll
    for (uint j = 0; j < each; ++j) {
      const float weight = exp(scores[j] - largest);
      total += weight;
#pragma unroll
      for (uint s = 0; s < spans; ++s) {
        float span[span_width];
        unpack_raw(raw_values[j * spans + s], span);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          sums[s * span_width + k] = fma(weight, span[k], sums[s * span_width + k]);
        }
      }
    }
  }

  if (simdgroup == 0 && own_block >= 0 && uint(own_block) < args.blocks && (seen - 1) / args.split_positions == split) {
    float key[spans * span_width];
    float value[spans * span_width];
    const ulong key_begin = ulong(row) * args.columns + ulong(args.heads + kv_head) * args.head_size;
    load_head<spans>(qkv, key_begin, part, false, args, key);
    load_head<spans>(qkv, key_begin + width, part, false, args, value);
    if (args.rotates != 0) {
      float partner[spans * span_width];
      load_head<spans>(qkv, key_begin, part, true, args, partner);
      rotate_head<spans>(key, partner, turns, part, args.head_size);
    }
    if (head % (args.heads / args.kv_heads) == 0 && lane < decode_lanes) {
      const ulong at =
          (ulong(own_block) * block_size + (seen - 1) % block_size) * width + ulong(kv_head) * args.head_size;
#pragma unroll
      for (uint s = 0; s < spans; ++s) {
        const uint column = (s * decode_lanes + part) * span_width;
        if (column < args.head_size) {
          store_span(keys, at + column, at + args.head_size, args.aligned, key + s * span_width);
          store_span(values, at + column, at + args.head_size, args.aligned, value + s * span_width);
        }
      }
    }
    float score = 0.0f;
#pragma unroll
    for (uint k = 0; k < spans * span_width; ++k) {
      score = fma(query[k], float(C(key[k])), score);
    }
    score += simd_shuffle_xor(score, 1);
    score += simd_shuffle_xor(score, 2);
    score += simd_shuffle_xor(score, 4);
    // Of the lanes that had other positions, those of one count it.
    score = lane < decode_lanes ? soft_cap(score * args.scale, args.softcap) : absent_score;
    const float next = max(largest, score);
    const float shrink = exp(largest - next);
    const float weight = exp(score - next);
    largest = next;
    total = total * shrink + weight;
#pragma unroll
    for (uint k = 0; k < spans * span_width; ++k) {
      sums[k] = fma(weight, float(C(value[k])), sums[k] * shrink);
    }
  }

  // Joins lanes that had other positions; both lanes of a pair compute the same.
  for (uint mask = decode_lanes; mask < 32; mask *= 2) {
    const float other = simd_shuffle_xor(largest, ushort(mask));
    const float next = max(largest, other);
    const float own_factor = exp(largest - next);
    const float other_factor = exp(other - next);
    largest = next;
    total = total * own_factor + simd_shuffle_xor(total, ushort(mask)) * other_factor;
#pragma unroll
    for (uint k = 0; k < spans * span_width; ++k) {
      sums[k] = sums[k] * own_factor + simd_shuffle_xor(sums[k], ushort(mask)) * other_factor;
    }
  }
  if (lane < decode_lanes) {
#pragma unroll
    for (uint k = 0; k < spans * span_width; ++k) {
      joined[simdgroup * stride + (k / span_width * decode_lanes + part) * span_width + k % span_width] = sums[k];
    }
  }
  if (lane == 0) {
    joined[simdgroup * stride + stride - 2] = largest;
    joined[simdgroup * stride + stride - 1] = total;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float group_largest = lowest_score;
  for (uint i = 0; i < decode_simdgroups; ++i) {
    group_largest = max(group_largest, joined[min(i, simdgroups - 1) * stride + stride - 2]);
  }
  float factors[decode_simdgroups];
  float group_total = 0.0f;
#pragma unroll
  for (uint i = 0; i < decode_simdgroups; ++i) {
    const uint from = min(i, simdgroups - 1) * stride + stride - 2;
    const float factor = exp(joined[from] - group_largest);
    factors[i] = i < simdgroups ? factor : 0.0f;
    group_total += joined[from + 1] * factors[i];
  }
  const float inverse = group_total == 0.0f ? 0.0f : 1.0f / group_total;
  const ulong target = ulong(unit) * (args.head_size + 2);
  for (uint column = thread_position; column < args.head_size; column += threads) {
    float sum = 0.0f;
#pragma unroll
    for (uint i = 0; i < decode_simdgroups; ++i) {
      sum += joined[min(i, simdgroups - 1) * stride + column] * factors[i];
    }
    if (args.splits == 1) {
      out[ulong(unit) * args.head_size + column] = T(sum * inverse);
    } else {
      partial[target + column] = sum;
    }
  }
  if (args.splits != 1 && thread_position == 0) {
    partial[target + args.head_size] = group_largest;
    partial[target + args.head_size + 1] = group_total;
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

// Splits in flight while they are joined; divides 32.
constant constexpr uint join_batch = 8;

// out = the splits of a query row and head joined in order, zeros if none had a position. Threadgroups of whole
// simdgroups, one per row of a head.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
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
  // Each lane has every 32nd split's maximum and total.
  float largest = lowest_score;
  for (uint split = lane; split < args.splits; split += 32) {
    largest = max(largest, partial[begin + split * stride + args.head_size]);
  }
  largest = simd_max(largest);
  float total = 0.0f;
  for (uint split = lane; split < args.splits; split += 32) {
    const ulong at = begin + split * stride + args.head_size;
    total += partial[at + 1] * exp(partial[at] - largest);
  }
  total = simd_sum(total);
  const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
  for (uint column = 0; column < args.head_size; column += 32) {
    // Lanes past the end add up the last column; their results are unused.
    const uint own = min(column + lane, args.head_size - 1);
    float sum = 0.0f;
    for (uint first = 0; first < args.splits; first += 32) {
      const uint mine = min(first + lane, args.splits - 1);
      const float factor = exp(partial[begin + mine * stride + args.head_size] - largest);
      for (uint split = first; split < min(first + 32, args.splits); split += join_batch) {
        float parts[join_batch];
#pragma unroll
        for (uint j = 0; j < join_batch; ++j) {
          parts[j] = partial[begin + min(split + j, args.splits - 1) * stride + own];
        }
#pragma unroll
        for (uint j = 0; j < join_batch; ++j) {
          const float weight = simd_shuffle(factor, ushort(split - first + j));
          sum += split + j < args.splits ? parts[j] * weight : 0.0f;
        }
      }
    }
    if (column + lane < args.head_size) {
      out[unit * args.head_size + own] = T(sum * inverse);
    }
  }
}

MSLT_INSTANTIATE(attention_decode_join_f32, attention_decode_join, float)
MSLT_INSTANTIATE(attention_decode_join_bf16, attention_decode_join, bfloat)
MSLT_INSTANTIATE(attention_decode_join_f16, attention_decode_join, half)
