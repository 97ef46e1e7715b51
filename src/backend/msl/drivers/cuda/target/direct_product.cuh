// The direct design on NVIDIA, in place of kernels/target/direct_product.h: where a threadgroup has four simdgroups,
// its 64×64 results are a tile through threadgroup memory. Included inside a unit's namespace.
#pragma once

#include "backend/msl/drivers/cuda/target/product_tile.cuh"

constexpr uint direct_side = 2 * tile_side;

// sums = the product of the threadgroup's tile; `finish` gets the sums, their memory and the tile's row and column.
// Returns whether it did.
template <bool a_transposed, bool b_transposed, typename S, typename A, typename B, typename Finish>
__device__ __forceinline__ bool direct_tile(const A* a, const B* b, const MatmulArgs& args, uint group, uint simdgroups,
                                            uint position, Finish finish) {
  using Tile = ProductTile<direct_side, S>;
  if (simdgroups != 4) {
    return false;
  }
  __shared__ uint4 a_words[Tile::words];
  __shared__ uint4 b_words[Tile::words];
  const uint2 tile =
      tile_place(group, (args.columns + direct_side - 1) / direct_side, (args.rows + direct_side - 1) / direct_side);
  simdgroup_float8x8 sums[Tile::fragments];
  const uint row = tile.y * direct_side;
  const uint column = tile.x * direct_side;
  multiply_tile<direct_side, a_transposed, b_transposed, S>(sums, a_words, b_words, a, b, args, row, column, position);
  finish(sums, a_words, row, column);
  return true;
}

template <typename T, typename W>
__device__ __forceinline__ bool direct_forward_tile(T* out, T* pre, const T* in, const W* weight, const uchar* bias,
                                                    const MatmulArgs& args, uint group, uint simdgroups,
                                                    uint position) {
  return direct_tile<false, true, T>(in, weight, args, group, simdgroups, position,
                                     [&](simdgroup_float8x8* sums, uint4* words, uint row, uint column) {
                                       finish_forward_tile<direct_side>(sums, words, out, pre, bias, args, row, column,
                                                                        position);
                                     });
}

template <typename T>
__device__ __forceinline__ bool direct_input_tile(T* din, const T* dout, const T* weight, const T* pre,
                                                  const MatmulArgs& args, uint group, uint simdgroups, uint position) {
  return direct_tile<false, false, T>(dout, weight, args, group, simdgroups, position,
                                      [&](simdgroup_float8x8* sums, uint4* words, uint row, uint column) {
                                        finish_backward_tile<direct_side>(sums, words, din, pre, args, row, column,
                                                                          position);
                                      });
}

template <typename T>
__device__ __forceinline__ bool direct_weight_tile(T* dweight, const T* dout, const T* in, const MatmulArgs& args,
                                                   uint group, uint simdgroups, uint position) {
  return direct_tile<true, false, T>(
      dout, in, args, group, simdgroups, position, [&](simdgroup_float8x8* sums, uint4* words, uint row, uint column) {
        finish_gradient_tile<direct_side>(sums, words, dweight, args, row, column, position);
      });
}
