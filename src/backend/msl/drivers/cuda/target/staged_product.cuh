// The staged design on NVIDIA: 128×128 results per threadgroup of four simdgroups, in place of
// kernels/target/staged_product.h. Included inside a unit's namespace.
#pragma once

#include "backend/msl/drivers/cuda/target/product_tile.cuh"

constexpr uint staged_side = ::mslt::msl::cuda::product_side;
constexpr uint staged_fragments = ProductTile<staged_side, float>::fragments;
constexpr uint staged_words_4 = ProductTile<staged_side, float>::words;
constexpr uint staged_words_2 = ProductTile<staged_side, bfloat>::words;

template <bool a_transposed, bool b_transposed, typename S, typename A, typename B>
__device__ __forceinline__ void staged_product(simdgroup_float8x8* sums, uint4* a_words, uint4* b_words, const A* a,
                                               const B* b, const MatmulArgs& args, uint row, uint column,
                                               uint position) {
  multiply_tile<staged_side, a_transposed, b_transposed, S>(sums, a_words, b_words, a, b, args, row, column, position);
}

template <typename T>
__device__ __forceinline__ void staged_finish_forward(simdgroup_float8x8* sums, uint4* words, T* out, T* pre,
                                                      const uchar* bias, const MatmulArgs& args, uint row, uint column,
                                                      uint position) {
  finish_forward_tile<staged_side>(sums, words, out, pre, bias, args, row, column, position);
}

template <typename T>
__device__ __forceinline__ void staged_finish_backward(simdgroup_float8x8* sums, uint4* words, T* din, const T* pre,
                                                       const MatmulArgs& args, uint row, uint column, uint position) {
  finish_backward_tile<staged_side>(sums, words, din, pre, args, row, column, position);
}

template <typename D>
__device__ __forceinline__ void staged_finish_gradient(simdgroup_float8x8* sums, uint4* words, D* target,
                                                       const MatmulArgs& args, uint row, uint column, uint position) {
  finish_gradient_tile<staged_side>(sums, words, target, args, row, column, position);
}
