// The largest of a row and its index, over a threadgroup. All its threads call group_best.
#pragma once

#include "lib/group_reduce.h"

// A logit's sort key: `rank` grows with the value and is 0 for NaN; among equal ranks the smaller index comes first.
struct Candidate {
  uint rank;
  uint index;
};

// The index of a thread without data, after every logit.
constant constexpr uint no_index = 0xffffffffu;

// From a float's bits, without float arithmetic, with which devices may flush subnormals.
inline uint rank_of(uint bits) {
  const uint size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) {
    return 0;
  }
  // -0 equals 0.
  return (bits & 0x80000000u) != 0 && size != 0 ? ~bits : size | 0x80000000u;
}

inline bool leads(Candidate a, Candidate b) {
  return a.rank > b.rank || (a.rank == b.rank && a.index < b.index);
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
