// Shared by both designs of the matrix product: the order of tiles and the epilogues.
#pragma once

#include "lib/activate.h"
#include "lib/any_float.h"
#include "lib/fragment.h"
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

// out = activation(sum + bias) for the tile at (row, column); stores the argument in `pre` if requested.
template <typename T>
inline void finish_forward(thread simdgroup_float8x8* sums, device T* out, device T* pre, device const uchar* bias,
                           constant MatmulArgs& args, uint row, uint column, uint lane) {
#pragma unroll
  for (uint i = 0; i < tile_fragments * tile_fragments; ++i) {
    const uint r = row + i / tile_fragments * fragment_width + fragment_row(lane);
#pragma unroll
    for (uint k = 0; k < 2; ++k) {
      const uint c = column + i % tile_fragments * fragment_width + fragment_column(lane) + k;
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
inline void finish_backward(thread simdgroup_float8x8* sums, device T* din, device const T* pre,
                            constant MatmulArgs& args, uint row, uint column, uint lane) {
#pragma unroll
  for (uint i = 0; i < tile_fragments * tile_fragments; ++i) {
    const uint r = row + i / tile_fragments * fragment_width + fragment_row(lane);
#pragma unroll
    for (uint k = 0; k < 2; ++k) {
      const uint c = column + i % tile_fragments * fragment_width + fragment_column(lane) + k;
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
inline void finish_gradient(thread simdgroup_float8x8* sums, device D* target, constant MatmulArgs& args, uint row,
                            uint column, uint lane) {
#pragma unroll
  for (uint i = 0; i < tile_fragments * tile_fragments; ++i) {
    const uint r = row + i / tile_fragments * fragment_width + fragment_row(lane);
#pragma unroll
    for (uint k = 0; k < 2; ++k) {
      const uint c = column + i % tile_fragments * fragment_width + fragment_column(lane) + k;
      if (r < args.rows && c < args.columns) {
        const ulong at = ulong(r) * args.columns + c;
        target[at] = D(float(target[at]) + sums[i].thread_elements()[k]);
      }
    }
  }
}
