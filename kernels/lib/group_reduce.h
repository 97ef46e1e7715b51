// Reductions over a threadgroup, in a fixed order. All its threads call them.
#pragma once

// Most simdgroups per threadgroup, and the elements of a `partial` array.
constant constexpr uint max_simdgroups = 32;

// The sum of every thread's value, in every thread. `partial` has max_simdgroups elements and may be reused after the
// next barrier.
inline float group_sum(float value, threadgroup float* partial, uint simdgroup, uint lane, uint simdgroups) {
  const float sum = simd_sum(value);
  if (lane == 0) {
    partial[simdgroup] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_sum(lane < simdgroups ? partial[lane] : 0.0f);
}

// The largest value, ignoring NaN. `lowest` is the contribution of threads without data.
inline float group_max(float value, float lowest, threadgroup float* partial, uint simdgroup, uint lane,
                       uint simdgroups) {
  const float largest = simd_max(value);
  if (lane == 0) {
    partial[simdgroup] = largest;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_max(lane < simdgroups ? partial[lane] : lowest);
}
