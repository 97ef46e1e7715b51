// The direct design: 32×32 results a simdgroup, operands 8 deep straight from device memory to registers.
#pragma once

#include "lib/matmul_tile.h"

// The 32×32 results at (row, column). Operands as staged_product has them, multiplied as those of A are stored.
template <bool a_transposed, bool b_transposed, typename A, typename B>
inline void direct_product(thread simdgroup_float8x8* sums, device const A* a, device const B* b,
                           constant MatmulArgs& args, uint row, uint column, uint lane) {
  clear_fragments<tile_fragments * tile_fragments>(sums);
  for (uint k = 0; k < args.inner; k += fragment_width) {
    simdgroup_matrix<A, 8, 8> left[tile_fragments];
    simdgroup_matrix<A, 8, 8> right[tile_fragments];
#pragma unroll
    for (uint i = 0; i < tile_fragments; ++i) {
      const uint r = row + i * fragment_width;
      const uint c = column + i * fragment_width;
      if (a_transposed) {
        load_transposed(left[i], a, args.rows, k, r, args.inner, args.rows, lane);
      } else {
        load_fragment(left[i], a, args.inner, r, k, args.rows, args.inner, lane);
      }
      if (b_transposed) {
        load_transposed(right[i], b, args.inner, c, k, args.columns, args.inner, lane);
      } else {
        load_fragment(right[i], b, args.columns, k, c, args.inner, args.columns, lane);
      }
    }
#pragma unroll
    for (uint i = 0; i < tile_fragments; ++i) {
#pragma unroll
      for (uint j = 0; j < tile_fragments; ++j) {
        simdgroup_multiply_accumulate(sums[i * tile_fragments + j], left[i], right[j], sums[i * tile_fragments + j]);
      }
    }
  }
}
