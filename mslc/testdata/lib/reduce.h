// Sums over a threadgroup.
#pragma once

constant constexpr uint max_simdgroups = 32;

// The sum of every thread's value, in every thread. All threads call it; `partial` holds max_simdgroups floats.
inline float threadgroup_sum(float value, threadgroup float* partial, uint simdgroup, uint lane, uint simdgroups) {
  const float sum = simd_sum(value);
  if (lane == 0) {
    partial[simdgroup] = sum;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float part = lane < simdgroups ? partial[lane] : 0.0f;
  return simd_sum(part);
}
