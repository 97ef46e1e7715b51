// The staged design: 64×64 results per threadgroup of four simdgroups, operands 16 deep through threadgroup memory.
//
// A target that has a file of its own in this one's place chooses the sides of the tile, its memory and who has which
// results; the kernels use staged_side, staged_fragments, staged_words_4, staged_words_2, staged_product and the three
// staged_finish functions.
#pragma once

#include "lib/matmul_tile.h"
#include "lib/span.h"

// Rows and columns of a threadgroup's results, and the fragments of a simdgroup's.
constant constexpr uint staged_side = 64;
constant constexpr uint staged_fragments = tile_fragments * tile_fragments;
constant constexpr uint staged_depth = 16;
constant constexpr uint staged_padding = 16;  // bytes after each row, against bank conflicts
// 16-byte words for a padded tile of either shape, [64, 16] or [16, 64], of 4-byte and of 2-byte elements.
constant constexpr uint staged_words_4 = 64 * (16 + 4) / 4;
constant constexpr uint staged_words_2 = 64 * (16 + 8) / 8;

// A tile's memory, declared as words so that it starts at a multiple of 16 bytes.
template <typename S>
inline threadgroup S* staged_elements(threadgroup uint4* words) {
  return (threadgroup S*)words;
}

// Copies eight elements, whole and aligned on both sides; the second form converts them.
template <typename S>
inline void stage_span(threadgroup S* to, device const S* from) {
#pragma unroll
  for (uint k = 0; k < sizeof(S) / 2; ++k) {
    ((threadgroup uint4*)to)[k] = ((device const uint4*)from)[k];
  }
}

template <typename S, typename T>
inline void stage_span(threadgroup S* to, device const T* from) {
  float values[span_width];
  load_aligned(from, values);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    to[k] = S(values[k]);
  }
}

// Copies the tile of `width` columns and 1024 / width rows at (row, column) of a matrix [rows, columns] to threadgroup
// memory, with zeros outside the matrix: one span per thread, 128 threads. `whole`: all of it exists, in whole aligned
// spans.
template <uint width, typename S, typename T>
inline void stage_tile(threadgroup S* tile, device const T* data, uint row, uint column, uint rows, uint columns,
                       bool whole, uint position) {
  constexpr uint stride = width + staged_padding / sizeof(S);
  const uint y = position / (width / span_width);
  const uint x = position % (width / span_width) * span_width;
  if (whole) {
    stage_span(tile + y * stride + x, data + (ulong(row + y) * columns + column + x));
    return;
  }
  float values[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = 0.0f;
  }
  if (row + y < rows) {
    const ulong begin = ulong(row + y) * columns;
    load_span(data, begin + column + x, begin + columns, 0u, values);
  }
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    tile[y * stride + x + k] = S(values[k]);
  }
}

// sums += the product of staged tiles, for the 32×32 results at (row, column) of the 64×64.
template <bool a_transposed, bool b_transposed, typename S>
inline void multiply_staged(thread simdgroup_float8x8* sums, threadgroup const S* a_tile, threadgroup const S* b_tile,
                            uint row, uint column) {
  constexpr uint short_stride = staged_depth + staged_padding / sizeof(S);
  constexpr uint long_stride = staged_side + staged_padding / sizeof(S);
#pragma unroll
  for (uint k = 0; k < staged_depth; k += fragment_width) {
    simdgroup_matrix<S, 8, 8> a[tile_fragments];
    simdgroup_matrix<S, 8, 8> b[tile_fragments];
#pragma unroll
    for (uint i = 0; i < tile_fragments; ++i) {
      const uint r = row + i * fragment_width;
      const uint c = column + i * fragment_width;
      if (a_transposed) {
        simdgroup_load(a[i], a_tile + k * long_stride + r, long_stride, ulong2(0, 0), true);
      } else {
        simdgroup_load(a[i], a_tile + r * short_stride + k, short_stride);
      }
      if (b_transposed) {
        simdgroup_load(b[i], b_tile + c * short_stride + k, short_stride, ulong2(0, 0), true);
      } else {
        simdgroup_load(b[i], b_tile + k * long_stride + c, long_stride);
      }
    }
#pragma unroll
    for (uint i = 0; i < tile_fragments; ++i) {
#pragma unroll
      for (uint j = 0; j < tile_fragments; ++j) {
        simdgroup_multiply_accumulate(sums[i * tile_fragments + j], a[i], b[j], sums[i * tile_fragments + j]);
      }
    }
  }
}

// A threadgroup's 64×64 results at (row, column); `sums` is this simdgroup's quarter. A is [rows, inner], or [inner,
// rows] if transposed; B is [inner, columns], or [columns, inner] if transposed. Only tiles at an edge are tested
// against the bounds.
template <bool a_transposed, bool b_transposed, typename S, typename A, typename B>
inline void staged_product(thread simdgroup_float8x8* sums, threadgroup uint4* a_words, threadgroup uint4* b_words,
                           device const A* a, device const B* b, constant MatmulArgs& args, uint row, uint column,
                           uint position) {
  threadgroup S* a_tile = staged_elements<S>(a_words);
  threadgroup S* b_tile = staged_elements<S>(b_words);
  const uint quarter = position / 32;
  const bool a_inside = args.a_aligned != 0 && row + staged_side <= args.rows;
  const bool b_inside = args.b_aligned != 0 && column + staged_side <= args.columns;
  clear_fragments<tile_fragments * tile_fragments>(sums);
  for (uint k = 0; k < args.inner; k += staged_depth) {
    const bool deep = k + staged_depth <= args.inner;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (a_transposed) {
      stage_tile<staged_side>(a_tile, a, k, row, args.inner, args.rows, a_inside && deep, position);
    } else {
      stage_tile<staged_depth>(a_tile, a, row, k, args.rows, args.inner, a_inside && deep, position);
    }
    if (b_transposed) {
      stage_tile<staged_depth>(b_tile, b, column, k, args.columns, args.inner, b_inside && deep, position);
    } else {
      stage_tile<staged_side>(b_tile, b, k, column, args.inner, args.columns, b_inside && deep, position);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    multiply_staged<a_transposed, b_transposed>(sums, a_tile, b_tile, quarter / 2 * tile_side, quarter % 2 * tile_side);
  }
}

// The row and the column of the first element that a lane has of its simdgroup's quarter.
inline uint staged_quarter_row(uint position) {
  return position / 64 * tile_side + fragment_row(position % 32);
}

inline uint staged_quarter_column(uint position) {
  return position / 32 % 2 * tile_side + fragment_column(position % 32);
}

// out = activation(sum + bias) for the tile at (row, column); stores the argument in `pre` if requested.
template <typename T>
inline void staged_finish_forward(thread simdgroup_float8x8* sums, threadgroup uint4* /*words*/, device T* out,
                                  device T* pre, device const uchar* bias, constant MatmulArgs& args, uint row,
                                  uint column, uint position) {
  const uint first_row = row + staged_quarter_row(position);
  const uint first_column = column + staged_quarter_column(position);
#pragma unroll
  for (uint i = 0; i < staged_fragments; ++i) {
    const uint r = first_row + i / tile_fragments * fragment_width;
#pragma unroll
    for (uint k = 0; k < 2; ++k) {
      const uint c = first_column + i % tile_fragments * fragment_width + k;
      if (r < args.rows && c < args.columns) {
        const ulong at = ulong(r) * args.columns + c;
        float x = sums[i].thread_elements()[k];
        if (args.has_bias != 0) {
          x += load_any(bias, args.bias_type, c);
        }
        if (args.has_pre != 0) {
          pre[at] = T(x);
          // As it is read again.
          x = float(T(x));
        }
        out[at] = T(activate(args.activation, x));
      }
    }
  }
}

// din (+)= sum · activation'(pre).
template <typename T>
inline void staged_finish_backward(thread simdgroup_float8x8* sums, threadgroup uint4* /*words*/, device T* din,
                                   device const T* pre, constant MatmulArgs& args, uint row, uint column,
                                   uint position) {
  const uint first_row = row + staged_quarter_row(position);
  const uint first_column = column + staged_quarter_column(position);
#pragma unroll
  for (uint i = 0; i < staged_fragments; ++i) {
    const uint r = first_row + i / tile_fragments * fragment_width;
#pragma unroll
    for (uint k = 0; k < 2; ++k) {
      const uint c = first_column + i % tile_fragments * fragment_width + k;
      if (r < args.rows && c < args.columns) {
        const ulong at = ulong(r) * args.columns + c;
        float x = sums[i].thread_elements()[k];
        if (args.has_pre != 0) {
          x *= activation_slope(args.activation, float(pre[at]));
        }
        if (args.accumulate != 0) {
          x += float(din[at]);
        }
        din[at] = T(x);
      }
    }
  }
}

// target += sum.
template <typename D>
inline void staged_finish_gradient(thread simdgroup_float8x8* sums, threadgroup uint4* /*words*/, device D* target,
                                   constant MatmulArgs& args, uint row, uint column, uint position) {
  const uint first_row = row + staged_quarter_row(position);
  const uint first_column = column + staged_quarter_column(position);
#pragma unroll
  for (uint i = 0; i < staged_fragments; ++i) {
    const uint r = first_row + i / tile_fragments * fragment_width;
#pragma unroll
    for (uint k = 0; k < 2; ++k) {
      const uint c = first_column + i % tile_fragments * fragment_width + k;
      if (r < args.rows && c < args.columns) {
        const ulong at = ulong(r) * args.columns + c;
        target[at] = D(float(target[at]) + sums[i].thread_elements()[k]);
      }
    }
  }
}
