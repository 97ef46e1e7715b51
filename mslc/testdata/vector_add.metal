// sum[i] = scale · a[i] + b[i]: four elements a thread where all four exist, one by one at the edge.
#include <metal_stdlib>

#include "vector_add_args.h"

using namespace metal;

constant constexpr uint lanes_per_thread = 4;

kernel void vector_add(device const float* a [[buffer(0)]], device const float* b [[buffer(1)]],
                       device float* sum [[buffer(2)]], constant VectorAddArgs& args [[buffer(3)]],
                       uint thread_index [[thread_position_in_grid]]) {
  const ulong first = ulong(thread_index) * lanes_per_thread;
  if (first + lanes_per_thread <= args.count) {
    const float4 x = float4(a[first], a[first + 1], a[first + 2], a[first + 3]);
    const float4 y = float4(b[first], b[first + 1], b[first + 2], b[first + 3]);
    const float4 z = args.scale * x + y;
    sum[first] = z.x;
    sum[first + 1] = z.y;
    sum[first + 2] = z.z;
    sum[first + 3] = z.w;
    return;
  }
  for (ulong i = first; i < args.count; ++i) {
    sum[i] = args.scale * a[i] + b[i];
  }
}
