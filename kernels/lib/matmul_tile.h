// Shared by both designs of the matrix product: the order of tiles and the epilogues.
#pragma once

#include "lib/activate.h"
#include "lib/any_float.h"
#include "lib/fragment.h"
#include "lib/span.h"
#include "linear_args.h"

// Fragments along each side of a simdgroup's 32×32 sums; sums[i · 4 + j] is block (i, j).
constant constexpr uint tile_fragments = 4;
constant constexpr uint tile_side = 32;

// Rows of tiles visited together, so neighbouring threadgroups read the same operands.
constant constexpr uint tile_band = 8;

// Tile (x right, y down) number `index` of a grid: bands of rows, columns in alternating direction.
inline uint2 tile_place(uint index, uint across, uint down) {
  const uint band = index / (tile_band * across);
  const uint within = index % (tile_band * across);
  const uint height = min(tile_band, down - band * tile_band);
  const uint column = within / height;
  return uint2((band & 1u) == 0 ? column : across - 1 - column, band * tile_band + within % height);
}

// The biases of the columns from `first` on.
inline void load_offsets(device const uchar* bias, constant MatmulArgs& args, uint first, thread float* offsets) {
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    offsets[k] = args.has_bias != 0 && first + k < args.columns ? load_any(bias, args.bias_type, first + k) : 0.0f;
  }
}

// out = activation(sum + bias) for the eight sums from (row, first) on; stores the argument in `pre` if requested.
template <typename T>
inline void finish_forward_span(thread float* values, thread const float* offsets, device T* out, device T* pre,
                                constant MatmulArgs& args, uint row, uint first) {
  const ulong begin = ulong(row) * args.columns;
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = args.has_bias != 0 ? values[k] + offsets[k] : values[k];
  }
  if (args.has_pre != 0) {
    store_span(pre, begin + first, begin + args.columns, args.out_aligned, values);
    // As they are read again.
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] = float(T(values[k]));
    }
  }
  if (args.activation != activation_of_none) {
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] = activate(args.activation, values[k]);
    }
  }
  store_span(out, begin + first, begin + args.columns, args.out_aligned, values);
}

// din (+)= sum · activation'(pre).
template <typename T>
inline void finish_backward_span(thread float* values, device T* din, device const T* pre, constant MatmulArgs& args,
                                 uint row, uint first) {
  const ulong begin = ulong(row) * args.columns;
  float others[span_width];
  if (args.has_pre != 0) {
    load_span(pre, begin + first, begin + args.columns, args.out_aligned, others);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] *= activation_slope(args.activation, others[k]);
    }
  }
  if (args.accumulate != 0) {
    load_span(din, begin + first, begin + args.columns, args.out_aligned, others);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] += others[k];
    }
  }
  store_span(din, begin + first, begin + args.columns, args.out_aligned, values);
}

// target += sum.
template <typename D>
inline void finish_gradient_span(thread float* values, device D* target, constant MatmulArgs& args, uint row,
                                 uint first) {
  const ulong begin = ulong(row) * args.columns;
  float others[span_width];
  load_span(target, begin + first, begin + args.columns, args.out_aligned, others);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = others[k] + values[k];
  }
  store_span(target, begin + first, begin + args.columns, args.out_aligned, values);
}
