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

// The highest rank of a batch. Nearly always one instruction an element: the largest float, or NaN if there is nothing
// else. Where that is 0 or subnormal, the device may have flushed others to 0, so their ranks tell.
template <typename T>
inline uint batch_top(thread const Run<T, span_width>* batch) {
  float tops[scan_spans];
#pragma unroll
  for (uint j = 0; j < scan_spans; ++j) {
    float values[span_width];
    unpack_raw(batch[j], values);
    tops[j] = values[0];
#pragma unroll
    for (uint k = 1; k < span_width; ++k) {
      tops[j] = fmax(tops[j], values[k]);
    }
  }
  const uint bits = float_bits(fmax(fmax(tops[0], tops[1]), fmax(tops[2], tops[3])));
  if ((bits & 0x7fffffffu) >= 0x00800000u) {
    return rank_of(bits);
  }
  uint top = 0;
#pragma unroll
  for (uint j = 0; j < scan_spans; ++j) {
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      top = max(top, span_rank(batch[j], k));
    }
  }
  return top;
}

// The candidate's logit. Its rank tells the bits of all but NaN and zeros.
template <typename T>
inline float logit_of(device const T* x, Candidate candidate) {
  const uint bits = (candidate.rank & 0x80000000u) != 0 ? candidate.rank ^ 0x80000000u : ~candidate.rank;
  const bool is_told = candidate.rank != 0 && bits != 0;
  return as_type<float>(is_told ? bits : float_bits(x[candidate.index]));
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
  // The thread's first batch with the highest rank; a later one must exceed it. Batches of only NaN never do.
  uint highest = 0;
  uint best_first = position;
  for (uint first = position; first < spans; first += scan_spans * threads) {
    Run<T, span_width> batch[scan_spans];
    fetch_batch(x, first, spans, threads, args.aligned, batch);
    const uint top = batch_top(batch);
    if (top > highest) {
      highest = top;
      best_first = first;
    }
  }
  const uint rest = spans * span_width + position;
  const uint rest_rank = rest < args.vocab ? rank_of(float_bits(x[rest])) : 0u;
  const uint own_top = simd_max(max(highest, rest_rank));
  if (lane == 0) {
    ranks[simdgroup] = own_top;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Candidate best = {simd_max(lane < simdgroups ? ranks[lane] : 0u), no_index};
  // Few threads have it and read its batch again for the index.
  if (rest < args.vocab && rest_rank == best.rank) {
    best.index = rest;
  }
  if (best_first < spans && highest == best.rank) {
    Run<T, span_width> batch[scan_spans];
    fetch_batch(x, best_first, spans, threads, args.aligned, batch);
#pragma unroll
    for (uint j = scan_spans; j > 0; --j) {
      const uint span = best_first + (j - 1) * threads;
#pragma unroll
      for (uint k = span_width; k > 0; --k) {
        if (span < spans && span_rank(batch[j - 1], k - 1) == best.rank) {
          best.index = span * span_width + k - 1;
        }
      }
    }
  }
  best.index = simd_min(best.index);
  if (lane == 0) {
    places[simdgroup] = best.index;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  best.index = simd_min(lane < simdgroups ? places[lane] : no_index);
  if (position == 0) {
    values[row] = logit_of(x, best);
    indices[row] = int(best.index);
  }
}

MSLT_INSTANTIATE(argmax_f32, argmax_rows, float)
MSLT_INSTANTIATE(argmax_bf16, argmax_rows, bfloat)
MSLT_INSTANTIATE(argmax_f16, argmax_rows, half)

// Maxima of batches of spans that a threadgroup keeps, and its capacity for candidates: at least its threads.
constant constexpr uint kept_maxima = 2048;
constant constexpr uint most_candidates = 1024;

// A kept maximum is named by its slot and, in these lower bits, its thread.
constant constexpr uint thread_bits = 10;

// Entries and spans that a thread reads at once.
constant constexpr uint entries_at_once = 4;
constant constexpr uint spans_at_once = 2;

// Appends the elements with a rank of at least `threshold`, in any order; counts all, keeps those that fit.
inline void offer(uint rank, uint index, uint threshold, threadgroup atomic_uint* count, threadgroup uint* ranks,
                  threadgroup uint* indices) {
  if (rank >= threshold) {
    const uint place = atomic_fetch_add_explicit(count, 1u, memory_order_relaxed);
    if (place < most_candidates) {
      ranks[place] = rank;
      indices[place] = index;
    }
  }
}

// The k largest logits in descending order. The k-th largest of the threads' maxima is a threshold that at least k
// elements reach, and seldom many more. Maxima of batches show which few batches to read again for them. Each element's
// place is the number of those before it. All threads share all of this: several count for one maximum or element. If
// too many reach the threshold, or k is larger than the number of maxima, the best of all threads' best is taken k
// times, and each time only its owner searches again: O(vocab + k · vocab / threads) steps and no memory, for any k.
// Only the upper halves of the batches' maxima are kept, so a few more batches are read again. The arrays take less
// than 16 KB, so that a device has room for two groups, or for one if it counts them twice.
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
  // A slot has 1 << slot_bits batches.
  uint slot_bits = 0;
  while ((slots << slot_bits) < batches) {
    ++slot_bits;
  }

  // Maxima of a thread's batches, several per slot if there are more batches than slots, and its own maximum.
  uint own_max = 0;
  for (uint b = 0; b < batches; ++b) {
    uint top = 0;
    const uint first = position + b * batch_spans;
    if (first < spans) {
      Run<T, span_width> batch[scan_spans];
      fetch_batch(x, first, spans, threads, args.aligned, batch);
      top = batch_top(batch);
    }
    const uint at = (b >> slot_bits) * threads + position;
    const bool is_new = (b >> slot_bits) << slot_bits == b;
    maxima[at] = ushort(max(is_new ? 0u : uint(maxima[at]), top >> 16));
    own_max = max(own_max, top);
  }

  // Neighbouring maxima are joined as long as at least twice the requested number remains.
  uint joined = 1;
  while (joined < 32 && threads / (2 * joined) >= 2 * args.k) {
    own_max = max(own_max, simd_shuffle_xor(own_max, ushort(joined)));
    joined *= 2;
  }
  const uint entries = threads / joined;
  if (position % joined == 0) {
    candidate_ranks[position / joined] = own_max;
  }
  // Zeros exceed no entry.
  if (entries + position < most_candidates && position < entries_at_once) {
    candidate_ranks[entries + position] = 0;
  }
  if (position == 0) {
    atomic_store_explicit(hit_count_of_all, 0u, memory_order_relaxed);
    atomic_store_explicit(count_of_all, 0u, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  // The least entry that fewer than k exceed is the k-th largest. The threads that joined their maxima share the
  // counting.
  uint above = 0;
  for (uint i = position % joined * entries_at_once; i < entries; i += joined * entries_at_once) {
#pragma unroll
    for (uint e = 0; e < entries_at_once; ++e) {
      above += candidate_ranks[i + e] > own_max ? 1 : 0;
    }
  }
  for (uint apart = 1; apart < joined; apart *= 2) {
    above += simd_shuffle_xor(above, ushort(apart));
  }
  const uint least = simd_min(above < args.k ? own_max : no_index);
  if (lane == 0) {
    ranks[0][simdgroup] = least;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint least_of_all = simd_min(lane < simdgroups ? ranks[0][lane] : no_index);
  const uint threshold = args.k <= entries ? least_of_all : 0u;

  // The slots with an element that reaches it, usually of few threads: all threads then read their spans.
  for (uint slot = 0; slot << slot_bits < batches; ++slot) {
    if (uint(maxima[slot * threads + position]) >= threshold >> 16) {
      const uint place = atomic_fetch_add_explicit(hit_count_of_all, 1u, memory_order_relaxed);
      if (place < most_candidates) {
        hits[place] = ushort((slot << thread_bits) + position);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint hit_count = atomic_load_explicit(hit_count_of_all, memory_order_relaxed);
  const uint spans_a_slot = scan_spans << slot_bits;
  const uint hit_spans = min(hit_count, most_candidates) * spans_a_slot;
  for (uint i = position; i < hit_spans; i += spans_at_once * threads) {
    Run<T, span_width> raw[spans_at_once];
    uint span[spans_at_once];
#pragma unroll
    for (uint j = 0; j < spans_at_once; ++j) {
      const uint number = i + j * threads;
      span[j] = spans;
      if (number < hit_spans) {
        const uint hit = uint(hits[(number >> slot_bits) / scan_spans]);
        const uint batch = hit >> thread_bits << slot_bits;
        span[j] = batch * batch_spans + (number & (spans_a_slot - 1)) * threads + (hit & ((1u << thread_bits) - 1));
      }
      if (span[j] < spans) {
        fetch_span(x, ulong(span[j]) * span_width, ulong(spans) * span_width, args.aligned, raw[j]);
      }
    }
#pragma unroll
    for (uint j = 0; j < spans_at_once; ++j) {
      if (span[j] < spans) {
#pragma unroll
        for (uint e = 0; e < span_width; ++e) {
          offer(span_rank(raw[j], e), span[j] * span_width + e, threshold, count_of_all, candidate_ranks,
                candidate_indices);
        }
      }
    }
  }
  const uint rest = spans * span_width + position;
  if (rest < args.vocab) {
    offer(rank_of(float_bits(x[rest])), rest, threshold, count_of_all, candidate_ranks, candidate_indices);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint count = atomic_load_explicit(count_of_all, memory_order_relaxed);
  if (hit_count <= most_candidates && count <= most_candidates) {
    // As many neighbouring threads share a candidate's counting as there are threads for each.
    uint sharing_bits = 0;
    while (sharing_bits < 5 && count << (sharing_bits + 1) <= threads) {
      ++sharing_bits;
    }
    const uint sharing = 1u << sharing_bits;
    const uint part = position & (sharing - 1);
    for (uint first = 0; first < count; first += threads >> sharing_bits) {
      const uint i = first + (position >> sharing_bits);
      Candidate own = {0u, no_index};
      if (i < count) {
        own.rank = candidate_ranks[i];
        own.index = candidate_indices[i];
      }
      uint before = 0;
      for (uint j = part; j < count; j += sharing) {
        const Candidate other = {candidate_ranks[j], candidate_indices[j]};
        before += leads(other, own) ? 1 : 0;
      }
      for (uint apart = 1; apart < sharing; apart *= 2) {
        before += simd_shuffle_xor(before, ushort(apart));
      }
      if (part == 0 && i < count && before < args.k) {
        values[ulong(row) * args.k + before] = logit_of(x, own);
        indices[ulong(row) * args.k + before] = int(own.index);
      }
    }
    return;
  }
  const Candidate everything = {0xffffffffu, 0u};
  Candidate own = best_after(x, args.vocab, position, threads, everything);
  for (uint i = 0; i < args.k; ++i) {
    const Candidate best = group_best(own, ranks[i & 1u], places[i & 1u], simdgroup, lane, simdgroups);
    if (position == 0 && best.index < args.vocab) {
      values[ulong(row) * args.k + i] = logit_of(x, best);
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
