// The largest logits of each row: one threadgroup of whole simdgroups a row.
#include <metal_stdlib>

#include "lib/group_reduce.h"
#include "lib/instantiate.h"
#include "sampling_args.h"

using namespace metal;

// A logit's place in the order: `rank` grows with the value and is 0 for NaN; of equal ones the smaller index leads.
struct Candidate {
  uint rank;
  uint index;
};

// What a thread without data brings, behind every logit.
constant constexpr uint no_index = 0xffffffffu;

inline uint rank_of(float value) {
  if (isnan(value)) {
    return 0;
  }
  // Adding 0 makes -0 equal to 0.
  const uint bits = as_type<uint>(value + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

inline bool leads(Candidate a, Candidate b) {
  return a.rank > b.rank || (a.rank == b.rank && a.index < b.index);
}

// The first of the elements lane, lane + stride, ... of x[0, n) that `last` leads; any, where last is {~0, ~0}.
template <typename T>
inline Candidate best_after(device const T* x, uint n, uint lane, uint stride, Candidate last) {
  Candidate best = {0u, no_index};
  for (ulong i = lane; i < n; i += stride) {
    const Candidate candidate = {rank_of(float(x[i])), uint(i)};
    if (leads(last, candidate) && leads(candidate, best)) {
      best = candidate;
    }
  }
  return best;
}

inline Candidate simd_best(Candidate candidate) {
  const uint rank = simd_max(candidate.rank);
  const Candidate best = {rank, simd_min(candidate.rank == rank ? candidate.index : no_index)};
  return best;
}

// The best of all threads' candidates, in every thread. `ranks` and `indices` have max_simdgroups elements.
inline Candidate group_best(Candidate candidate, threadgroup uint* ranks, threadgroup uint* indices, uint simdgroup,
                            uint lane, uint simdgroups) {
  const Candidate best = simd_best(candidate);
  if (lane == 0) {
    ranks[simdgroup] = best.rank;
    indices[simdgroup] = best.index;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Candidate part = {0u, no_index};
  if (lane < simdgroups) {
    part.rank = ranks[lane];
    part.index = indices[lane];
  }
  return simd_best(part);
}

// out[row] = the index of the row's largest logit.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void argmax_rows(
    device int* out [[buffer(0)]], device const T* logits [[buffer(1)]], constant SamplingArgs& args [[buffer(2)]],
    uint row [[threadgroup_position_in_grid]], uint position [[thread_position_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup uint ranks[max_simdgroups];
  threadgroup uint indices[max_simdgroups];
  device const T* x = logits + ulong(row) * args.columns;
  const Candidate everything = {0xffffffffu, 0u};
  const Candidate own = best_after(x, args.vocab, position, threads, everything);
  const Candidate best = group_best(own, ranks, indices, simdgroup, lane, simdgroups);
  if (position == 0) {
    out[row] = int(best.index);
  }
}

MSLT_INSTANTIATE(argmax_f32, argmax_rows, float)
MSLT_INSTANTIATE(argmax_bf16, argmax_rows, bfloat)
MSLT_INSTANTIATE(argmax_f16, argmax_rows, half)

// The k largest logits in descending order. Each thread knows the best of its own elements that is not yet taken; the
// best of all is taken, and only its owner looks again: O(vocab + k · vocab / threads) steps and no memory, whatever k
// is.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void top_k_rows(
    device float* values [[buffer(0)]], device int* indices [[buffer(1)]], device const T* logits [[buffer(2)]],
    constant SamplingArgs& args [[buffer(3)]], uint row [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  // Two of each: one round writes while a slow thread may still read the last.
  threadgroup uint ranks[2][max_simdgroups];
  threadgroup uint places[2][max_simdgroups];
  device const T* x = logits + ulong(row) * args.columns;
  const Candidate everything = {0xffffffffu, 0u};
  Candidate own = best_after(x, args.vocab, position, threads, everything);
  for (uint i = 0; i < args.k; ++i) {
    const Candidate best = group_best(own, ranks[i & 1u], places[i & 1u], simdgroup, lane, simdgroups);
    if (position == 0 && best.index < args.vocab) {
      values[ulong(row) * args.k + i] = float(x[best.index]);
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
