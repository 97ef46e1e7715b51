// Kernels with one defect each, for the tools to find; the line of each defect is marked by a comment.
#include <metal_stdlib>

#include "planted_args.h"

using namespace metal;

constant constexpr uint width = 1024;
constant constexpr uint scores_held = 512;

[[max_total_threads_per_threadgroup(32)]]
kernel void threadgroup_overrun(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                                uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float row[width];
  for (uint i = thread_index; i < args.count; i += 32) {
    row[i] = float(i);  // defect: threadgroup_overrun
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[thread_index] = row[thread_index];
}

// An index that is an argument is the one kind that mslc does not look through.
inline void put_score(thread float* scores, uint i, float score) {
  scores[i] = score;  // defect: thread_array_overrun
}

[[max_total_threads_per_threadgroup(32)]]
kernel void thread_array_overrun(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                                 uint thread_index [[thread_index_in_threadgroup]]) {
  float scores[scores_held];
  for (uint i = 0; i < args.count; ++i) {
    put_score(scores, i, float(i + thread_index));
  }
  out[thread_index] = scores[scores_held / 2];
}

[[max_total_threads_per_threadgroup(32)]]
kernel void device_overrun(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                           uint thread_index [[thread_index_in_threadgroup]]) {
  if (thread_index <= args.count) {
    out[thread_index] = 1.0f;  // defect: device_overrun
  }
}

[[max_total_threads_per_threadgroup(32)]]
kernel void missing_barrier(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                            uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float shared[width];
  shared[thread_index] = float(thread_index);
  out[thread_index] = shared[(thread_index + 1) % args.count];  // defect: missing_barrier
}

[[max_total_threads_per_threadgroup(32)]]
kernel void group_race(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                       uint thread_index [[thread_index_in_threadgroup]]) {
  if (thread_index < args.count) {
    out[thread_index] += 1.0f;  // defect: group_race
  }
}

[[max_total_threads_per_threadgroup(32)]]
kernel void divergent_barrier(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                              uint thread_index [[thread_index_in_threadgroup]]) {
  if (thread_index < args.count) {
    threadgroup_barrier(mem_flags::mem_device);  // defect: divergent_barrier
  }
  out[thread_index] = 1.0f;
}

[[max_total_threads_per_threadgroup(32)]]
kernel void division_by_zero(device uint* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                             uint thread_index [[thread_index_in_threadgroup]]) {
  out[thread_index] = thread_index / args.divisor;  // defect: division_by_zero
}

[[max_total_threads_per_threadgroup(32)]]
kernel void uninitialised_read(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                               uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float shared[width];
  if (thread_index + 1 < args.count) {
    shared[thread_index] = 1.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (shared[thread_index] > 0.5f) {  // defect: uninitialised_read
    out[thread_index] = 1.0f;
  }
}

// Without a defect, so that the tools are seen to be silent: each threadgroup reverses and sums its own numbers.
[[max_total_threads_per_threadgroup(32)]]
kernel void no_defect(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                      uint thread_index [[thread_index_in_threadgroup]],
                      uint group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float shared[width];
  for (uint round = 0; round < 3; ++round) {
    shared[thread_index] = float(thread_index + round);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const float sum = simd_sum(shared[args.count - 1 - thread_index]);
    if (group * args.count + thread_index == lane) {
      out[thread_index] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

[[max_total_threads_per_threadgroup(32)]]
kernel void divergent_sum(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]],
                          uint thread_index [[thread_index_in_threadgroup]]) {
  if (thread_index < args.count) {
    out[thread_index] = simd_sum(1.0f);
  } else {
    out[thread_index] = simd_sum(2.0f);  // defect: divergent_sum
  }
}
