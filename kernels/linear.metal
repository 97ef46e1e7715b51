// Matrix products and their gradients, in two designs, the bias gradient, and quantised weights made plain.
//
// Operands are multiplied in the storage type T of the activations, in which those of the other fit. Sums are floats.
#include <metal_stdlib>

#include "lib/instantiate.h"
#include "lib/matmul_direct.h"
#include "lib/part_sum.h"
#include "lib/raw_span.h"
#include "lib/weight_chunk.h"
#include "linear_args.h"
#include "target/direct_product.h"
#include "target/staged_product.h"

using namespace metal;

// out = activation(in · weightᵀ + bias). A threadgroup of 128 has 64×64 results.
template <typename T, typename W>
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul_forward_staged(device T* out [[buffer(0)]], device T* pre [[buffer(1)]],
                                  device const T* in [[buffer(2)]], device const W* weight [[buffer(3)]],
                                  device const uchar* bias [[buffer(4)]], constant MatmulArgs& args [[buffer(5)]],
                                  uint group [[threadgroup_position_in_grid]],
                                  uint position [[thread_index_in_threadgroup]]) {
  threadgroup uint4 a_words[sizeof(T) == 4 ? staged_words_4 : staged_words_2];
  threadgroup uint4 b_words[sizeof(T) == 4 ? staged_words_4 : staged_words_2];
  const uint2 tile =
      tile_place(group, (args.columns + staged_side - 1) / staged_side, (args.rows + staged_side - 1) / staged_side);
  const uint row = tile.y * staged_side;
  const uint column = tile.x * staged_side;
  simdgroup_float8x8 sums[staged_fragments];
  staged_product<false, true, T>(sums, a_words, b_words, in, weight, args, row, column, position);
  staged_finish_forward(sums, a_words, out, pre, bias, args, row, column, position);
}

MSLT_INSTANTIATE(matmul_forward_staged_f32_f32, matmul_forward_staged, float, float)
MSLT_INSTANTIATE(matmul_forward_staged_f32_bf16, matmul_forward_staged, float, bfloat)
MSLT_INSTANTIATE(matmul_forward_staged_f32_f16, matmul_forward_staged, float, half)
MSLT_INSTANTIATE(matmul_forward_staged_bf16_bf16, matmul_forward_staged, bfloat, bfloat)
MSLT_INSTANTIATE(matmul_forward_staged_f16_f16, matmul_forward_staged, half, half)

// out = activation(in · weightᵀ + bias). Each simdgroup of a threadgroup of 1, 2 or 4 has 32×32 results.
template <typename T, typename W>
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul_forward_direct(device T* out [[buffer(0)]], device T* pre [[buffer(1)]],
                                  device const T* in [[buffer(2)]], device const W* weight [[buffer(3)]],
                                  device const uchar* bias [[buffer(4)]], constant MatmulArgs& args [[buffer(5)]],
                                  uint group [[threadgroup_position_in_grid]],
                                  uint simdgroup [[simdgroup_index_in_threadgroup]],
                                  uint simdgroups [[simdgroups_per_threadgroup]],
                                  uint lane [[thread_index_in_simdgroup]]) {
  if (direct_forward_tile(out, pre, in, weight, bias, args, group, simdgroups, simdgroup * 32 + lane)) {
    return;
  }
  const uint2 place = direct_place(group, simdgroup, simdgroups, args);
  const uint row = place.y;
  const uint column = place.x;
  if (row >= args.rows || column >= args.columns) {
    return;
  }
  simdgroup_float8x8 sums[tile_fragments * tile_fragments];
  direct_product<false, true>(sums, in, weight, args, row, column, lane);
  finish_forward_rows(sums, out, pre, bias, args, row, column, lane);
}

MSLT_INSTANTIATE(matmul_forward_direct_f32_f32, matmul_forward_direct, float, float)
MSLT_INSTANTIATE(matmul_forward_direct_f32_bf16, matmul_forward_direct, float, bfloat)
MSLT_INSTANTIATE(matmul_forward_direct_f32_f16, matmul_forward_direct, float, half)
MSLT_INSTANTIATE(matmul_forward_direct_bf16_bf16, matmul_forward_direct, bfloat, bfloat)
MSLT_INSTANTIATE(matmul_forward_direct_f16_f16, matmul_forward_direct, half, half)

// din (+)= (dout · weight) · activation'(pre). A threadgroup of 128 has 64×64 results.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul_input_staged(device T* din [[buffer(0)]], device const T* dout [[buffer(1)]],
                                device const T* weight [[buffer(2)]], device const T* pre [[buffer(3)]],
                                constant MatmulArgs& args [[buffer(4)]], uint group [[threadgroup_position_in_grid]],
                                uint position [[thread_index_in_threadgroup]]) {
  threadgroup uint4 a_words[sizeof(T) == 4 ? staged_words_4 : staged_words_2];
  threadgroup uint4 b_words[sizeof(T) == 4 ? staged_words_4 : staged_words_2];
  const uint2 tile =
      tile_place(group, (args.columns + staged_side - 1) / staged_side, (args.rows + staged_side - 1) / staged_side);
  const uint row = tile.y * staged_side;
  const uint column = tile.x * staged_side;
  simdgroup_float8x8 sums[staged_fragments];
  staged_product<false, false, T>(sums, a_words, b_words, dout, weight, args, row, column, position);
  staged_finish_backward(sums, a_words, din, pre, args, row, column, position);
}

MSLT_INSTANTIATE(matmul_input_staged_f32, matmul_input_staged, float)
MSLT_INSTANTIATE(matmul_input_staged_bf16, matmul_input_staged, bfloat)
MSLT_INSTANTIATE(matmul_input_staged_f16, matmul_input_staged, half)

// din (+)= (dout · weight) · activation'(pre). Each simdgroup of a threadgroup of 1, 2 or 4 has 32×32 results.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul_input_direct(device T* din [[buffer(0)]], device const T* dout [[buffer(1)]],
                                device const T* weight [[buffer(2)]], device const T* pre [[buffer(3)]],
                                constant MatmulArgs& args [[buffer(4)]], uint group [[threadgroup_position_in_grid]],
                                uint simdgroup [[simdgroup_index_in_threadgroup]],
                                uint simdgroups [[simdgroups_per_threadgroup]],
                                uint lane [[thread_index_in_simdgroup]]) {
  if (direct_input_tile(din, dout, weight, pre, args, group, simdgroups, simdgroup * 32 + lane)) {
    return;
  }
  const uint2 place = direct_place(group, simdgroup, simdgroups, args);
  const uint row = place.y;
  const uint column = place.x;
  if (row >= args.rows || column >= args.columns) {
    return;
  }
  simdgroup_float8x8 sums[tile_fragments * tile_fragments];
  direct_product<false, false>(sums, dout, weight, args, row, column, lane);
  finish_backward_rows(sums, din, pre, args, row, column, lane);
}

MSLT_INSTANTIATE(matmul_input_direct_f32, matmul_input_direct, float)
MSLT_INSTANTIATE(matmul_input_direct_bf16, matmul_input_direct, bfloat)
MSLT_INSTANTIATE(matmul_input_direct_f16, matmul_input_direct, half)

// dweight += doutᵀ · in. A threadgroup of 128 has 64×64 results.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul_weight_staged(device T* dweight [[buffer(0)]], device const T* dout [[buffer(1)]],
                                 device const T* in [[buffer(2)]], constant MatmulArgs& args [[buffer(3)]],
                                 uint group [[threadgroup_position_in_grid]],
                                 uint position [[thread_index_in_threadgroup]]) {
  threadgroup uint4 a_words[sizeof(T) == 4 ? staged_words_4 : staged_words_2];
  threadgroup uint4 b_words[sizeof(T) == 4 ? staged_words_4 : staged_words_2];
  const uint2 tile =
      tile_place(group, (args.columns + staged_side - 1) / staged_side, (args.rows + staged_side - 1) / staged_side);
  const uint row = tile.y * staged_side;
  const uint column = tile.x * staged_side;
  simdgroup_float8x8 sums[staged_fragments];
  staged_product<true, false, T>(sums, a_words, b_words, dout, in, args, row, column, position);
  staged_finish_gradient(sums, a_words, dweight, args, row, column, position);
}

MSLT_INSTANTIATE(matmul_weight_staged_f32, matmul_weight_staged, float)
MSLT_INSTANTIATE(matmul_weight_staged_bf16, matmul_weight_staged, bfloat)
MSLT_INSTANTIATE(matmul_weight_staged_f16, matmul_weight_staged, half)

// dweight += doutᵀ · in. Each simdgroup of a threadgroup of 1, 2 or 4 has 32×32 results.
template <typename T>
[[max_total_threads_per_threadgroup(128)]]
kernel void matmul_weight_direct(device T* dweight [[buffer(0)]], device const T* dout [[buffer(1)]],
                                 device const T* in [[buffer(2)]], constant MatmulArgs& args [[buffer(3)]],
                                 uint group [[threadgroup_position_in_grid]],
                                 uint simdgroup [[simdgroup_index_in_threadgroup]],
                                 uint simdgroups [[simdgroups_per_threadgroup]],
                                 uint lane [[thread_index_in_simdgroup]]) {
  if (direct_weight_tile(dweight, dout, in, args, group, simdgroups, simdgroup * 32 + lane)) {
    return;
  }
  const uint2 place = direct_place(group, simdgroup, simdgroups, args);
  const uint row = place.y;
  const uint column = place.x;
  if (row >= args.rows || column >= args.columns) {
    return;
  }
  simdgroup_float8x8 sums[tile_fragments * tile_fragments];
  direct_product<true, false>(sums, dout, in, args, row, column, lane);
  finish_gradient_rows(sums, dweight, args, row, column, lane);
}

MSLT_INSTANTIATE(matmul_weight_direct_f32, matmul_weight_direct, float)
MSLT_INSTANTIATE(matmul_weight_direct_bf16, matmul_weight_direct, bfloat)
MSLT_INSTANTIATE(matmul_weight_direct_f16, matmul_weight_direct, half)

// Rows of threads of a threadgroup of the column sums, and what a thread fetches before it adds.
constant constexpr uint column_sum_rows = 8;
constant constexpr uint column_sum_ahead = 4;

// partial[part] = the sums of the columns of its rows_per_part rows. Threadgroups of 32 × column_sum_rows threads of a
// span each: columns along x, parts along y. The last rows come first: they were written last, and may be in the cache.
template <typename T>
[[max_total_threads_per_threadgroup(256)]]
kernel void column_sums(device float* partial [[buffer(0)]], device const T* in [[buffer(1)]],
                        constant ColumnSumArgs& args [[buffer(2)]], uint2 group [[threadgroup_position_in_grid]],
                        uint2 position [[thread_position_in_threadgroup]]) {
  threadgroup float sums[column_sum_rows][32 * span_width];
  const uint column = (group.x * 32 + position.x) * span_width;
  const ulong part = args.parts - 1 - group.y;
  const ulong first = part * args.rows_per_part;
  const ulong last = min(first + args.rows_per_part, ulong(args.rows));
  float total[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    total[k] = 0.0f;
  }
  if (column < args.columns) {
    for (ulong row = first + position.y; row < last; row += column_sum_ahead * column_sum_rows) {
      Run<T, span_width> ahead[column_sum_ahead];
#pragma unroll
      for (uint step = 0; step < column_sum_ahead; ++step) {
        const ulong begin = min(row + step * column_sum_rows, last - 1) * args.columns;
        fetch_span(in, begin + column, begin + args.columns, args.aligned, ahead[step]);
      }
#pragma unroll
      for (uint step = 0; step < column_sum_ahead; ++step) {
        float values[span_width];
        unpack_raw(ahead[step], values);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          total[k] += row + step * column_sum_rows < last ? values[k] : 0.0f;
        }
      }
    }
  }
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    sums[position.y][position.x * span_width + k] = total[k];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint place = position.y * 32 + position.x;
  const uint mine = group.x * 32 * span_width + place;
  if (mine < args.columns) {
    float sum = 0.0f;
#pragma unroll
    for (uint k = 0; k < column_sum_rows; ++k) {
      sum += sums[k][place];
    }
    partial[part * args.columns + mine] = sum;
  }
}

MSLT_INSTANTIATE(column_sums_f32, column_sums, float)
MSLT_INSTANTIATE(column_sums_bf16, column_sums, bfloat)
MSLT_INSTANTIATE(column_sums_f16, column_sums, half)

// target += the parts of its column. Threadgroups of 32 columns by join_rows threads.
template <typename D>
[[max_total_threads_per_threadgroup(1024)]]
kernel void column_sums_join(device D* target [[buffer(0)]], device const float* partial [[buffer(1)]],
                             constant ColumnSumArgs& args [[buffer(2)]], uint2 group [[threadgroup_position_in_grid]],
                             uint2 position [[thread_position_in_threadgroup]]) {
  threadgroup float sums[join_rows * 32];
  const uint column = group.x * 32 + position.x;
  const bool inside = column < args.columns;
  const float total = join_parts(partial, column, args.columns, args.parts, inside, sums, position);
  if (position.y == 0 && inside) {
    target[column] = D(float(target[column]) + total);
  }
}

MSLT_INSTANTIATE(column_sums_join_f32, column_sums_join, float)
MSLT_INSTANTIATE(column_sums_join_bf16, column_sums_join, bfloat)
MSLT_INSTANTIATE(column_sums_join_f16, column_sums_join, half)

// out = a quantised weight as plain elements. A thread has a chunk; any threadgroup of one dimension.
template <typename T, typename W>
kernel void unpack_weight(device T* out [[buffer(0)]], device const W* weight [[buffer(1)]],
                          device const half* scales [[buffer(2)]], constant UnpackArgs& args [[buffer(3)]],
                          uint group [[threadgroup_position_in_grid]], uint position [[thread_position_in_threadgroup]],
                          uint threads [[threads_per_threadgroup]]) {
  constexpr uint spans = WeightChunk<W>::spans;
  const ulong first = (ulong(group) * threads + position) * (spans * span_width);
  if (first >= args.count) {
    return;
  }
  // Groups are whole chunks.
  if (args.aligned == 0) {
    for (ulong at = first; at < first + spans * span_width; ++at) {
      out[at] = T(weight_element(weight, scales, at));
    }
    return;
  }
  WeightChunk<W> chunk;
  fetch_chunk(weight, scales, first, chunk);
  const float scale = chunk_scale(chunk);
  const float minimum = chunk_minimum(chunk);
#pragma unroll
  for (uint s = 0; s < spans; ++s) {
    float values[span_width];
    chunk_span(chunk, s, values);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] = fma(values[k], scale, minimum);
    }
    const ulong at = first + s * span_width;
    store_span(out, at, args.count, 1u, values);
  }
}

MSLT_INSTANTIATE(unpack_weight_f32_i8, unpack_weight, float, char)
MSLT_INSTANTIATE(unpack_weight_f32_u8, unpack_weight, float, uchar)
MSLT_INSTANTIATE(unpack_weight_bf16_i8, unpack_weight, bfloat, char)
MSLT_INSTANTIATE(unpack_weight_bf16_u8, unpack_weight, bfloat, uchar)
MSLT_INSTANTIATE(unpack_weight_f16_i8, unpack_weight, half, char)
MSLT_INSTANTIATE(unpack_weight_f16_u8, unpack_weight, half, uchar)
