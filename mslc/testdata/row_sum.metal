// sum[row] = Σ_i x[row, i]: one threadgroup of up to 1,024 threads a row.
#include <metal_stdlib>

#include "lib/reduce.h"
#include "row_sum_args.h"

using namespace metal;

[[max_total_threads_per_threadgroup(1024)]] kernel void row_sum(
    device const float* x [[buffer(0)]], device float* sum [[buffer(1)]], constant RowSumArgs& args [[buffer(2)]],
    uint2 group [[threadgroup_position_in_grid]], uint2 threads [[threads_per_threadgroup]],
    uint thread_index [[thread_index_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float partial[max_simdgroups];
  const uint row = group.x;
  device const float* row_data = x + ulong(row) * args.columns;
  float total = 0.0f;
  for (uint i = thread_index; i < args.columns; i += threads.x * threads.y) {
    total += row_data[i];
  }
  total = threadgroup_sum(total, partial, simdgroup, lane, simdgroups);
  if (thread_index == 0) {
    sum[row] = total;
  }
}
