// The largest logits of each row: one threadgroup of whole simdgroups per row.
#include <metal_stdlib>

#include "lib/candidate.h"
#include "lib/float_bits.h"
#include "lib/instantiate.h"
#include "lib/raw_span.h"
#include "sampling_args.h"

using namespace metal;

// Of the elements lane, lane + stride, ... of x[0, n) after `last`, the first in order; of all, if last is {~0, ~0}.
template <typename T>
inline Candidate best_after(device const T* x, uint n, uint lane, uint stride, Candidate last) {
  Candidate best = {0u, no_index};
  for (ulong i = lane; i < n; i += stride) {
    const Candidate candidate = {rank_of(float_bits(x[i])), uint(i)};
    if (leads(last, candidate) && leads(candidate, best)) {
      best = candidate;
    }
  }
  return best;
}

// Spans in flight per thread.
constant constexpr uint scan_spans = 4;

// The spans first, first + threads, ... of a row of whole spans; past the last one, the first again.
template <typename T>
inline void fetch_batch(device const T* x, uint first, uint spans, uint threads, uint aligned,
                        thread Run<T, span_width>* batch) {
  if (aligned != 0) {
#pragma unroll
    for (uint j = 0; j < scan_spans; ++j) {
      const uint span = first + j * threads;
      fetch_run(x + ulong(span < spans ? span : first) * span_width, batch[j]);
    }
  } else {
#pragma unroll
    for (uint j = 0; j < scan_spans; ++j) {
      const uint span = first + j * threads;
      const ulong at = ulong(span < spans ? span : first) * span_width;
      fetch_each(x, at, at + span_width, batch[j]);
    }
  }
}

// The rank of one of a span's elements.
template <typename T>
inline uint span_rank(thread const Run<T, span_width>& span, uint k) {
  return rank_of(float_bits(run_element(span, k)));
}

// The highest rank among them.
template <typename T>
inline uint span_top(thread const Run<T, span_width>& span) {
  uint top = 0;
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    top = max(top, span_rank(span, k));
  }
  return top;
}

// The largest logit of each row and its index.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void argmax_rows(
    device float* values [[buffer(0)]], device int* indices [[buffer(1)]], device const T* logits [[buffer(2)]],
    constant SamplingArgs& args [[buffer(3)]], uint row [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup uint ranks[max_simdgroups];
  threadgroup uint places[max_simdgroups];
  device const T* x = logits + ulong(row) * args.columns;
  const uint spans = args.vocab / span_width;
  // The first span with the highest rank; a later one must exceed it. Spans of only NaN never do.
  uint highest = 0;
  uint best_span = no_index;
  Run<T, span_width> best_elements;
  clear_run(best_elements);
  for (uint first = position; first < spans; first += scan_spans * threads) {
    Run<T, span_width> batch[scan_spans];
    fetch_batch(x, first, spans, threads, args.aligned, batch);
    uint tops[scan_spans];
#pragma unroll
    for (uint j = 0; j < scan_spans; ++j) {
      tops[j] = span_top(batch[j]);
    }
    const uint top = max(max(tops[0], tops[1]), max(tops[2], tops[3]));
    if (top > highest) {
      highest = top;
      // Spans past the last one were replaced by the first, which then comes first.
#pragma unroll
      for (uint j = scan_spans; j > 0; --j) {
        if (tops[j - 1] == top) {
          best_span = first + (j - 1) * threads;
          best_elements = batch[j - 1];
        }
      }
    }
  }
  Candidate own = {0u, position < spans ? position * span_width : no_index};
  if (best_span != no_index) {
    own.rank = highest;
#pragma unroll
    for (uint k = span_width; k > 0; --k) {
      own.index = span_rank(best_elements, k - 1) == highest ? best_span * span_width + k - 1 : own.index;
    }
  }
  const uint rest = spans * span_width + position;
  if (rest < args.vocab) {
    const Candidate candidate = {rank_of(float_bits(x[rest])), rest};
    if (leads(candidate, own)) {
      own = candidate;
    }
  }
  const Candidate best = group_best(own, ranks, places, simdgroup, lane, simdgroups);
  if (position == 0) {
    values[row] = as_type<float>(float_bits(x[best.index]));
    indices[row] = int(best.index);
  }
}

MSLT_INSTANTIATE(argmax_f32, argmax_rows, float)
MSLT_INSTANTIATE(argmax_bf16, argmax_rows, bfloat)
MSLT_INSTANTIATE(argmax_f16, argmax_rows, half)

// Maxima of batches of spans that a threadgroup keeps, and its capacity for candidates: at least its threads.
constant constexpr uint kept_maxima = 2048;
constant constexpr uint most_candidates = 1024;

// Appends those of a span's elements whose rank is at least `threshold`, in any order; counts all, keeps those that fit.
template <typename T>
inline void offer(thread const Run<T, span_width>& span, uint first_index, uint elements, uint threshold,
                  threadgroup atomic_uint* count, threadgroup uint* ranks, threadgroup uint* indices) {
  uint own_ranks[span_width];
  uint own_count = 0;
#pragma unroll
  for (uint e = 0; e < span_width; ++e) {
    own_ranks[e] = span_rank(span, e);
    own_count += e < elements && own_ranks[e] >= threshold ? 1 : 0;
  }
  if (own_count == 0) {
    return;
  }
  uint place = atomic_fetch_add_explicit(count, own_count, memory_order_relaxed);
#pragma unroll
  for (uint e = 0; e < span_width; ++e) {
    if (e < elements && own_ranks[e] >= threshold && place < most_candidates) {
      ranks[place] = own_ranks[e];
      indices[place] = first_index + e;
      ++place;
    }
  }
}

// The largest of a span's elements; of NaN only, or where a device takes subnormals for zeros, perhaps another number.
template <typename T>
inline float span_maximum(thread const Run<T, span_width>& span) {
  float values[span_width];
  unpack_raw(span, values);
  float maximum = values[0];
#pragma unroll
  for (uint k = 1; k < span_width; ++k) {
    maximum = fmax(maximum, values[k]);
  }
  return maximum;
}

// How many of `count` candidates lead candidate `own`, counted by `share` neighbouring lanes together, a power of two.
inline uint count_leaders(threadgroup const uint* ranks, threadgroup const uint* indices, uint count, uint own,
                          uint lane, uint share) {
  const Candidate candidate = {ranks[own], indices[own]};
  uint leaders = 0;
  for (uint i = lane % share; i < count; i += share) {
    const Candidate other = {ranks[i], indices[i]};
    leaders += leads(other, candidate) ? 1 : 0;
  }
  for (uint step = 1; step < share; step *= 2) {
    leaders += simd_shuffle_xor(leaders, ushort(step));
  }
  return leaders;
}

// The k largest logits in descending order. The k-th largest of the threads' maxima is a threshold that at least k
// elements reach, and seldom many more. Maxima of batches show which few batches to read again for them; all threads
// share that work. Each element's place is the number of those before it. If too many or too few reach the threshold, or
// k is larger than the number of maxima, the best of all threads' best is taken k times, and each time only its owner
// searches again: O(vocab + k · vocab / threads) steps and no memory, for any k. Only the upper halves of the batches'
// maxima are kept, so a few more batches are read again. The arrays take less than 16 KB, so that a device has room for two
// groups, or for one if it counts them twice.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void top_k_rows(
    device float* values [[buffer(0)]], device int* indices [[buffer(1)]], device const T* logits [[buffer(2)]],
    constant SamplingArgs& args [[buffer(3)]], uint row [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup ushort maxima[kept_maxima];
  threadgroup uint candidate_ranks[most_candidates];
  threadgroup uint candidate_indices[most_candidates];
  threadgroup ushort hits[most_candidates];
  threadgroup uint threshold_of_all[1];
  threadgroup atomic_uint hit_count_of_all[1];
  threadgroup atomic_uint count_of_all[1];
  // Two of each: one round writes while a slow thread may still read the previous one.
  threadgroup uint ranks[2][max_simdgroups];
  threadgroup uint places[2][max_simdgroups];
  device const T* x = logits + ulong(row) * args.columns;
  const uint spans = args.vocab / span_width;
  const uint batch_spans = scan_spans * threads;
  const uint batches = (spans + batch_spans - 1) / batch_spans;
  const uint slots = kept_maxima / threads;
  const uint batches_a_slot = (batches + slots - 1) / slots;

  // Maxima of a thread's batches, several per slot if there are more batches than slots, and its own maximum.
  uint own_max = 0;
  for (uint b = 0; b < batches; ++b) {
    uint top = 0;
    const uint first = position + b * batch_spans;
    if (first < spans) {
      Run<T, span_width> batch[scan_spans];
      fetch_batch(x, first, spans, threads, args.aligned, batch);
      float maximum = span_maximum(batch[0]);
#pragma unroll
      for (uint j = 1; j < scan_spans; ++j) {
        maximum = fmax(maximum, span_maximum(batch[j]));
      }
      top = rank_of(float_bits(maximum));
    }
    const uint at = b / batches_a_slot * threads + position;
    const uint kept = b % batches_a_slot == 0 ? 0u : uint(maxima[at]);
    maxima[at] = ushort(max(kept, top >> 16));
    own_max = max(own_max, top);
  }

  // Neighbouring maxima are joined as long as at least twice the requested number remains.
  uint joined = 1;
  while (joined < 32 && threads / (2 * joined) >= 2 * args.k) {
    own_max = max(own_max, simd_shuffle_xor(own_max, ushort(joined)));
    joined *= 2;
  }
  if (position % joined == 0) {
    candidate_ranks[position / joined] = own_max;
  }
  if (position == 0) {
    threshold_of_all[0] = 0;
    atomic_store_explicit(hit_count_of_all, 0u, memory_order_relaxed);
    atomic_store_explicit(count_of_all, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // Neighbouring lanes compare the same maximum with the others.
  const uint own_entry = candidate_ranks[position / joined];
  uint larger = 0;
  uint as_large = 0;
  for (uint i = position % joined; i < threads / joined; i += joined) {
    larger += candidate_ranks[i] > own_entry ? 1 : 0;
    as_large += candidate_ranks[i] >= own_entry ? 1 : 0;
  }
  for (uint step = 1; step < joined; step *= 2) {
    larger += simd_shuffle_xor(larger, ushort(step));
    as_large += simd_shuffle_xor(as_large, ushort(step));
  }
  if (larger < args.k && as_large >= args.k) {
    threshold_of_all[0] = own_entry;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  // The slots with an element that reaches it, usually of few threads: all threads then read their spans.
  const uint threshold = threshold_of_all[0];
  for (uint slot = 0; slot * batches_a_slot < batches; ++slot) {
    if (uint(maxima[slot * threads + position]) >= threshold >> 16) {
      const uint place = atomic_fetch_add_explicit(hit_count_of_all, 1u, memory_order_relaxed);
      if (place < most_candidates) {
        hits[place] = ushort(slot * threads + position);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint hit_count = atomic_load_explicit(hit_count_of_all, memory_order_relaxed);
  const uint spans_a_slot = batches_a_slot * scan_spans;
  for (uint i = position; i < min(hit_count, most_candidates) * spans_a_slot; i += threads) {
    const uint hit = uint(hits[i / spans_a_slot]);
    const uint span = hit / threads * batches_a_slot * batch_spans + i % spans_a_slot * threads + hit % threads;
    if (span < spans) {
      Run<T, span_width> raw;
      fetch_span(x, ulong(span) * span_width, ulong(spans) * span_width, args.aligned, raw);
      offer(raw, span * span_width, span_width, threshold, count_of_all, candidate_ranks, candidate_indices);
    }
  }
  const uint rest = spans * span_width;
  if (position == 0 && rest < args.vocab) {
    Run<T, span_width> raw;
    fetch_each(x, rest, args.vocab, raw);
    offer(raw, rest, args.vocab - rest, threshold, count_of_all, candidate_ranks, candidate_indices);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint count = atomic_load_explicit(count_of_all, memory_order_relaxed);
  if (hit_count <= most_candidates && count >= args.k && count <= most_candidates) {
    // Lanes that find a candidate's place together.
    uint share = 1;
    while (share < 32 && 2 * share * count <= threads) {
      share *= 2;
    }
    // The last candidate stands in for missing ones, so that all lanes of a simdgroup go on together.
    for (uint first = 0; first < count * share; first += threads) {
      const uint own = (first + position) / share;
      const uint before = count_leaders(candidate_ranks, candidate_indices, count, min(own, count - 1), lane, share);
      if (own < count && before < args.k && lane % share == 0) {
        const uint index = candidate_indices[own];
        values[ulong(row) * args.k + before] = as_type<float>(float_bits(x[index]));
        indices[ulong(row) * args.k + before] = int(index);
      }
    }
    return;
  }
  const Candidate everything = {0xffffffffu, 0u};
  Candidate own = best_after(x, args.vocab, position, threads, everything);
  for (uint i = 0; i < args.k; ++i) {
    const Candidate best = group_best(own, ranks[i & 1u], places[i & 1u], simdgroup, lane, simdgroups);
    if (position == 0 && best.index < args.vocab) {
      values[ulong(row) * args.k + i] = as_type<float>(float_bits(x[best.index]));
      indices[ulong(row) * args.k + i] = int(best.index);
    }
    if (own.index == best.index) {
      own = best_after(x, args.vocab, position, threads, best);
    }
  }
}

MSLT_INSTANTIATE(top_k_f32, top_k_rows, float)
MSLT_INSTANTIATE(top_k_bf16, top_k_rows, bfloat)
MSLT_INSTANTIATE(top_k_f16, top_k_rows, half)
