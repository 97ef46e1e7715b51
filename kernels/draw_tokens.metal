// Drawing a token from each row of logits: one threadgroup of whole simdgroups per row.
//
// The order of weights is searched, not made: weights are floats from 0 to 1, ordered as their bits, so three passes over
// ten bits each find the weight with which the sum from the heaviest on exceeds a target. Sums are whole numbers, added
// by integer atomics: their order changes nothing, so every device gets the same from the same weights.
#include <metal_stdlib>

#include "lib/candidate.h"
#include "lib/float_bits.h"
#include "lib/group_reduce.h"
#include "lib/instantiate.h"
#include "lib/philox.h"
#include "lib/span.h"
#include "sampling_args.h"

using namespace metal;

constant constexpr uint bucket_bits = 10;
constant constexpr uint draw_buckets = 1u << bucket_bits;
constant constexpr uint search_levels = 3;
constant constexpr uint key_mask = (1u << (search_levels * bucket_bits)) - 1u;
constant constexpr uint lane_buckets = draw_buckets / 32;
constant constexpr uint no_bucket = 0xffffffffu;

// Marks a logit that cannot be drawn.
constant constexpr uint impossible_bits = 0x7fc00000u;

// A weight in units of 2^-40, rounded down. 2^23 of the heaviest still add up in 64 bits.
inline ulong units_of(float weight) {
  return ulong(weight * 1099511627776.0f);
}

// floor(a · b / 2^64).
inline ulong upper_product(ulong a, ulong b) {
  const ulong a_low = a & 0xffffffffu;
  const ulong a_high = a >> 32;
  const ulong b_low = b & 0xffffffffu;
  const ulong b_high = b >> 32;
  const ulong cross = a_high * b_low + ((a_low * b_low) >> 32);
  const ulong other = a_low * b_high + (cross & 0xffffffffu);
  return a_high * b_high + (cross >> 32) + (other >> 32);
}

inline ulong shuffle_units(ulong value, uint lane) {
  const ulong high = simd_shuffle(uint(value >> 32), ushort(lane));
  return (high << 32) | simd_shuffle(uint(value), ushort(lane));
}

// The sum of the values of lanes before this one.
inline ulong units_before(ulong value, uint lane) {
  ulong sum = value;
  for (uint apart = 1; apart < 32; apart *= 2) {
    const ulong other = shuffle_units(sum, lane >= apart ? lane - apart : lane);
    sum += lane >= apart ? other : 0ul;
  }
  return sum - value;
}

// 64-bit sums in threadgroup memory.
struct Sums {
  threadgroup atomic_uint* low;
  threadgroup atomic_uint* high;
};

inline void add_units(Sums sums, uint bucket, ulong units) {
  const uint low = uint(units);
  const uint before = atomic_fetch_add_explicit(sums.low + bucket, low, memory_order_relaxed);
  const uint high = uint(units >> 32) + (before > ~low ? 1u : 0u);
  if (high != 0) {
    atomic_fetch_add_explicit(sums.high + bucket, high, memory_order_relaxed);
  }
}

inline ulong units_in(Sums sums, uint bucket) {
  const ulong high = atomic_load_explicit(sums.high + bucket, memory_order_relaxed);
  return (high << 32) | atomic_load_explicit(sums.low + bucket, memory_order_relaxed);
}

inline void clear_sums(Sums sums, uint position, uint threads) {
  for (uint i = position; i < draw_buckets; i += threads) {
    atomic_store_explicit(sums.low + i, 0u, memory_order_relaxed);
    atomic_store_explicit(sums.high + i, 0u, memory_order_relaxed);
  }
}

// By one simdgroup. From the last bucket to the first, with `above` before them: the one with which the sum exceeds
// `target`, and the sum before it, or no_bucket if none does.
inline void find_bucket(Sums sums, ulong above, ulong target, uint lane, threadgroup uint* found) {
  ulong own = 0;
  for (uint k = 0; k < lane_buckets; ++k) {
    // Lanes start at different places: neighbouring buckets lie in different banks.
    own += units_in(sums, draw_buckets - 1 - (lane * lane_buckets + (k + lane) % lane_buckets));
  }
  const ulong before = above + units_before(own, lane);
  const uint first = simd_min(before + own > target ? lane : 32u);
  if (first == 32u) {
    if (lane == 0) {
      found[0] = no_bucket;
    }
    return;
  }
  const uint bucket = draw_buckets - 1 - (first * lane_buckets + lane);
  const ulong single = units_in(sums, bucket);
  const ulong down_to = shuffle_units(before, first) + units_before(single, lane);
  if (lane == simd_min(down_to + single > target ? lane : 32u)) {
    found[0] = bucket;
    found[1] = uint(down_to);
    found[2] = uint(down_to >> 32);
  }
}

// A threadgroup's part in a search, and what it searches: whole spans of weights.
struct DrawGroup {
  uint position;
  uint threads;
  uint simdgroup;
  uint lane;
};

// What weights are ordered by, and what is added up of each. Weights of no units count for nothing.
constant constexpr uint units_by_weight = 0;
constant constexpr uint count_by_weight = 1;
constant constexpr uint count_by_place = 2;  // of those with the bits `wanted`

struct Found {
  uint key;     // or no_bucket
  ulong above;  // the sum of what comes before it in descending order
};

// The key with which the sum in descending order exceeds `target`. Starts with the upper bits `prefix` known, at `level`.
inline Found search_weights(device const float* weights, uint spans, uint kind, uint wanted, ulong target, uint level,
                            uint prefix, Sums sums, threadgroup uint* found, DrawGroup group) {
  Found result = {prefix, 0ul};
  for (; level < search_levels; ++level) {
    const uint shift = (search_levels - 1 - level) * bucket_bits;
    clear_sums(sums, group.position, group.threads);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint span = group.position; span < spans; span += group.threads) {
      float values[span_width];
      load_aligned(weights + ulong(span) * span_width, values);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const uint bits = as_type<uint>(values[k]);
        const uint key = kind == count_by_place ? ~(span * span_width + k) & key_mask : bits;
        const ulong units = units_of(values[k]);
        if (units != 0 && (kind != count_by_place || bits == wanted) &&
            ((key >> shift) >> bucket_bits) == result.key) {
          add_units(sums, (key >> shift) % draw_buckets, kind == units_by_weight ? units : 1ul);
        }
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (group.simdgroup == 0) {
      find_bucket(sums, result.above, target, group.lane, found);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (found[0] == no_bucket) {
      result.key = no_bucket;
      return result;
    }
    result.key = (result.key << bucket_bits) | found[0];
    result.above = (ulong(found[2]) << 32) | found[1];
  }
  return result;
}

// The sum of every thread's units, in every thread.
inline ulong group_units(ulong units, Sums sums, DrawGroup group) {
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (group.position == 0) {
    atomic_store_explicit(sums.low, 0u, memory_order_relaxed);
    atomic_store_explicit(sums.high, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const ulong before = units_before(units, group.lane);
  if (group.lane == 31) {
    add_units(sums, 0, before + units);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const ulong total = units_in(sums, 0);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return total;
}

// The units of weights from `least` on.
inline ulong units_from(device const float* weights, uint spans, float least, Sums sums, DrawGroup group) {
  ulong own = 0;
  for (uint span = group.position; span < spans; span += group.threads) {
    float values[span_width];
    load_aligned(weights + ulong(span) * span_width, values);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      own += values[k] >= least ? units_of(values[k]) : 0ul;
    }
  }
  return group_units(own, sums, group);
}

// The index drawn from the weights at `row`, whose units add up to `total`.
inline uint draw_weighted(device const float* weights, uint spans, ulong total, DrawRow row, uint draws, Sums sums,
                          threadgroup uint* found, DrawGroup group) {
  ulong kept = total;
  if (row.top_k != 0) {
    const Found last = search_weights(weights, spans, count_by_weight, 0u, ulong(row.top_k) - 1, 0u, 0u, sums, found,
                                      group);
    if (last.key != no_bucket) {
      const float bound = as_type<float>(last.key);
      // The next larger float.
      const ulong above = units_from(weights, spans, as_type<float>(last.key + 1), sums, group);
      kept = above + (ulong(row.top_k) - last.above) * units_of(bound);
    }
  }
  if (row.top_p < 1.0f) {
    const ulong share = ulong(row.top_p * 4294967296.0f);
    const ulong least = (kept >> 32) * share + (((kept & 0xffffffffu) * share) >> 32);
    const ulong target = least == 0 ? 0 : least - 1;
    const Found last = search_weights(weights, spans, units_by_weight, 0u, target, 0u, 0u, sums, found, group);
    const ulong units = units_of(as_type<float>(last.key));
    kept = last.above + ((target - last.above) / units + 1) * units;
  }
  if (row.min_p > 0.0f) {
    const ulong heavy = units_from(weights, spans, row.min_p, sums, group);
    kept = heavy < kept ? heavy : kept;
  }
  const uint2 seed = uint2(row.seed_low, row.seed_high);
  const uint4 random = philox_block(seed, draws, row.sample, 0ul);
  // 53 bits, as the host's.
  const ulong share = ((ulong(random.x) << 32) | random.y) & ~0x7fful;
  const ulong target = upper_product(kept, share);
  const Found drawn = search_weights(weights, spans, units_by_weight, 0u, target, 0u, 0u, sums, found, group);
  const ulong place = (target - drawn.above) / units_of(as_type<float>(drawn.key));
  // Of equal weights, by ascending index. Keys of places begin with ones as far as the indices begin with zeros.
  const uint known = spans * span_width <= draw_buckets ? 2u : spans * span_width <= draw_buckets * draw_buckets ? 1u : 0u;
  const Found at = search_weights(weights, spans, count_by_place, drawn.key, place, known,
                                  (1u << (known * bucket_bits)) - 1u, sums, found, group);
  return ~at.key & key_mask;
}

// Bits first to first + 7 of a row of words.
inline uint eight_bits(device const int* words, uint has_words, uint first) {
  return has_words != 0 ? (uint(words[first / 32]) >> (first % 32)) & 0xffu : 0u;
}

template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void draw_rows(
    device int* tokens [[buffer(0)]], device float* values [[buffer(1)]], device int* draws [[buffer(2)]],
    device int* seen [[buffer(3)]], device float* scratch [[buffer(4)]], device const T* logits [[buffer(5)]],
    device const DrawRow* settings [[buffer(6)]], device const int* excluded [[buffer(7)]],
    constant DrawArgs& args [[buffer(8)]], uint row [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup atomic_uint low[draw_buckets];
  threadgroup atomic_uint high[draw_buckets];
  threadgroup uint ranks[max_simdgroups];
  threadgroup uint places[max_simdgroups];
  threadgroup float largest[max_simdgroups];
  threadgroup float wrong[max_simdgroups];
  threadgroup uint found[3];
  const Sums sums = {low, high};
  const DrawGroup group = {position, threads, simdgroup, lane};
  const DrawRow set = settings[row];
  device const T* x = logits + ulong(row) * args.columns;
  device float* weights = scratch + ulong(row) * args.weight_columns;
  device int* own_seen = seen + ulong(row) * args.words;
  device const int* own_excluded = excluded + ulong(row) * args.excluded_words;
  const uint spans = args.weight_columns / span_width;
  const float inverse_penalty = set.repetition_penalty > 0.0f ? 1.0f / set.repetition_penalty : 1.0f;

  // Logits as they count, and the largest of them.
  Candidate own = {0u, no_index};
  float own_largest = -FLT_MAX;
  float own_wrong = 0.0f;
  for (uint span = position; span < spans; span += threads) {
    const uint first = span * span_width;
    float logit[span_width];
    load_span(x, first, args.vocab, args.aligned, logit);
    const uint without = eight_bits(own_excluded, args.has_excluded, first);
    const uint repeated = eight_bits(own_seen, args.has_seen, first);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      const uint bits = as_type<uint>(logit[k]);
      const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
      const bool is_logit = first + k < args.vocab;
      own_wrong = is_logit && !is_finite ? 1.0f : own_wrong;
      if (is_logit && is_finite && ((without >> k) & 1u) == 0) {
        own_largest = max(own_largest, logit[k]);
        if (((repeated >> k) & 1u) != 0) {
          logit[k] *= logit[k] > 0.0f ? inverse_penalty : set.repetition_penalty;
        }
        const Candidate candidate = {rank_of(as_type<uint>(logit[k])), first + k};
        if (leads(candidate, own)) {
          own = candidate;
        }
      } else {
        logit[k] = as_type<float>(impossible_bits);
      }
    }
    store_aligned(weights + first, logit);
  }
  const Candidate best = group_best(own, ranks, places, simdgroup, lane, simdgroups);
  const float top = group_max(own_largest, -FLT_MAX, largest, simdgroup, lane, simdgroups);
  const float any_wrong = group_max(own_wrong, 0.0f, wrong, simdgroup, lane, simdgroups);

  uint token = best.index != no_index ? best.index : 0u;
  if (best.index != no_index && set.temperature > 0.0f) {
    const float maximum = as_type<float>((best.rank & 0x80000000u) != 0 ? best.rank & 0x7fffffffu : ~best.rank);
    const float inverse_temperature = 1.0f / set.temperature;
    ulong own_units = 0;
    for (uint span = position; span < spans; span += threads) {
      float logit[span_width];
      load_aligned(weights + span * span_width, logit);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const float weight = logit[k] == maximum ? 1.0f : exp((logit[k] - maximum) * inverse_temperature);
        logit[k] = as_type<uint>(logit[k]) == impossible_bits ? 0.0f : weight;
        own_units += units_of(logit[k]);
      }
      store_aligned(weights + span * span_width, logit);
    }
    const ulong total = group_units(own_units, sums, group);
    token = draw_weighted(weights, spans, total, set, uint(draws[row]), sums, found, group);
  }
  if (position == 0) {
    tokens[row] = int(token);
    values[row] = any_wrong != 0.0f || best.index == no_index ? as_type<float>(impossible_bits) : top;
    if (set.temperature > 0.0f) {
      draws[row] += 1;
    }
    if (args.has_seen != 0) {
      own_seen[token / 32] = int(uint(own_seen[token / 32]) | (1u << (token % 32)));
    }
  }
}

MSLT_INSTANTIATE(draw_tokens_f32, draw_rows, float)
MSLT_INSTANTIATE(draw_tokens_bf16, draw_rows, bfloat)
MSLT_INSTANTIATE(draw_tokens_f16, draw_rows, half)
