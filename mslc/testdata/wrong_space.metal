// Reads threadgroup memory through a device pointer: the address-space check has to reject line 8.
#include <metal_stdlib>

using namespace metal;

[[max_total_threads_per_threadgroup(32)]] kernel void wrong_space(device float* x [[buffer(0)]], uint lane [[thread_index_in_threadgroup]]) {
  threadgroup float tile[32];
  device float* data = tile;
  x[lane] = data[lane];
}
