// Products of few rows with a plain or quantised weight, bound by reading the weight once.
#include <metal_stdlib>

#include "lib/activate.h"
#include "lib/any_float.h"
#include "lib/instantiate.h"
#include "lib/weight_span.h"
#include "matvec_args.h"

using namespace metal;

// Rows of the weight that a simdgroup goes over together.
constant constexpr uint matvec_columns = 2;

// out = activation(in · weightᵀ + bias). A simdgroup has matvec_columns results of `count` rows: its lanes go over the
// weight a span each, side by side. Threadgroups of whole simdgroups, which cover the columns of the first rows, then
// those of the next.
template <typename T, typename W, uint count>
kernel void matvec_rows(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                        device const W* weight [[buffer(2)]], device const half* scales [[buffer(3)]],
                        device const uchar* bias [[buffer(4)]], constant MatvecArgs& args [[buffer(5)]],
                        uint group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],
                        uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  const uint each = simdgroups * matvec_columns;
  const uint across = (args.columns + each - 1) / each;
  const ulong first_column = ulong(group % across) * each + simdgroup * matvec_columns;
  const uint first_row = group / across * count;
  if (first_column >= args.columns) {
    return;
  }
  float sums[count * matvec_columns];
  for (uint i = 0; i < count * matvec_columns; ++i) {
    sums[i] = 0.0f;
  }
  for (uint step = 0; step < args.inner; step += 32 * span_width) {
    const uint k = step + lane * span_width;
    float weights[matvec_columns * span_width];
    for (uint c = 0; c < matvec_columns; ++c) {
      // Past the last row of the weight its last row stands in; what comes of it is not written.
      const ulong column = min(first_column + c, ulong(args.columns) - 1);
      load_weights(weight, scales, column, k, args.inner, args.weight_aligned, weights + c * span_width);
    }
    for (uint r = 0; r < count; ++r) {
      if (first_row + r < args.rows) {
        float x[span_width];
        const ulong begin = ulong(first_row + r) * args.inner;
        load_span(in, begin + k, begin + args.inner, args.in_aligned, x);
        for (uint c = 0; c < matvec_columns; ++c) {
          for (uint e = 0; e < span_width; ++e) {
            sums[r * matvec_columns + c] += x[e] * weights[c * span_width + e];
          }
        }
      }
    }
  }
  for (uint i = 0; i < count * matvec_columns; ++i) {
    float x = simd_sum(sums[i]);
    const uint row = first_row + i / matvec_columns;
    const ulong column = first_column + i % matvec_columns;
    if (lane == i && row < args.rows && column < args.columns) {
      if (args.has_bias != 0) {
        x += load_any(bias, args.bias_type, column);
      }
      out[ulong(row) * args.columns + column] = T(activate(args.activation, x));
    }
  }
}

MSLT_INSTANTIATE(matvec_one_f32_f32, matvec_rows, float, float, 1)
MSLT_INSTANTIATE(matvec_one_f32_bf16, matvec_rows, float, bfloat, 1)
MSLT_INSTANTIATE(matvec_one_f32_f16, matvec_rows, float, half, 1)
MSLT_INSTANTIATE(matvec_one_f32_i8, matvec_rows, float, char, 1)
MSLT_INSTANTIATE(matvec_one_f32_u8, matvec_rows, float, uchar, 1)
MSLT_INSTANTIATE(matvec_one_bf16_bf16, matvec_rows, bfloat, bfloat, 1)
MSLT_INSTANTIATE(matvec_one_bf16_i8, matvec_rows, bfloat, char, 1)
MSLT_INSTANTIATE(matvec_one_bf16_u8, matvec_rows, bfloat, uchar, 1)
MSLT_INSTANTIATE(matvec_one_f16_f16, matvec_rows, half, half, 1)
MSLT_INSTANTIATE(matvec_one_f16_i8, matvec_rows, half, char, 1)
MSLT_INSTANTIATE(matvec_one_f16_u8, matvec_rows, half, uchar, 1)
MSLT_INSTANTIATE(matvec_four_f32_f32, matvec_rows, float, float, 4)
MSLT_INSTANTIATE(matvec_four_f32_bf16, matvec_rows, float, bfloat, 4)
MSLT_INSTANTIATE(matvec_four_f32_f16, matvec_rows, float, half, 4)
MSLT_INSTANTIATE(matvec_four_f32_i8, matvec_rows, float, char, 4)
MSLT_INSTANTIATE(matvec_four_f32_u8, matvec_rows, float, uchar, 4)
MSLT_INSTANTIATE(matvec_four_bf16_bf16, matvec_rows, bfloat, bfloat, 4)
MSLT_INSTANTIATE(matvec_four_bf16_i8, matvec_rows, bfloat, char, 4)
MSLT_INSTANTIATE(matvec_four_bf16_u8, matvec_rows, bfloat, uchar, 4)
MSLT_INSTANTIATE(matvec_four_f16_f16, matvec_rows, half, half, 4)
MSLT_INSTANTIATE(matvec_four_f16_i8, matvec_rows, half, char, 4)
MSLT_INSTANTIATE(matvec_four_f16_u8, matvec_rows, half, uchar, 4)
