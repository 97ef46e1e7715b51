// y[row, i] = factor[row] · x[row, i] + shift through a staged tile, for any storage type and tile height.
#include <metal_stdlib>

#include "lib/instantiate.h"
#include "scale_rows_args.h"

using namespace metal;

struct Tile {
  static constant constexpr uint columns = 32;
  float bias;

  float biased(float value) const thread { return value + bias; }
};

template <typename T>
inline float load_float(device const T* data, ulong index) {
  return float(data[index]);
}

template <typename T>
inline void shift_all(thread T& value, float shift) {
  value = T(float(value) + shift);
}

template <typename T, uint rows>
[[max_total_threads_per_threadgroup(256)]]
kernel void scale_rows(device const T* x [[buffer(0)]], constant float* factor [[buffer(1)]],
                       device T* y [[buffer(2)]], constant ScaleRowsArgs& args [[buffer(4)]],
                       threadgroup float* factors [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
                       uint3 thread_position [[thread_position_in_threadgroup]]) {
  constexpr uint padded = Tile::columns + 1;
  threadgroup T tile[rows][padded];
  const uint row = group.y * rows + thread_position.y;
  const uint column = group.x * Tile::columns + thread_position.x;
  const bool inside = row < args.rows && column < args.columns;
  if (thread_position.x == 0) {
    factors[thread_position.y] = row < args.rows ? factor[row] : 0.0f;
  }
  const ulong index = ulong(row) * args.columns + column;
  tile[thread_position.y][thread_position.x] = inside ? T(load_float(x, index)) : T(0.0f);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  Tile shared;
  shared.bias = 0.0f;
  T value = T(factors[thread_position.y] * float(tile[thread_position.y][thread_position.x]));
  shift_all(value, shared.biased(args.shift));
  if (inside) {
    y[index] = value;
  }
}

MSLT_INSTANTIATE(scale_rows_f32, scale_rows, float, 8)
MSLT_INSTANTIATE(scale_rows_f16, scale_rows, half, 4 * 2)
MSLT_INSTANTIATE(scale_rows_bf16, scale_rows, bfloat, 4);
