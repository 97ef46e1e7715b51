// The direct design: 32×32 results per simdgroup, operands straight from device memory to registers.
//
// A lane loads runs of neighbours and distributes them over several fragments. With x = 0 to 7 a row or column of a
// fragment,
//   block (i, j) of the sums has rows 4x + i and columns 4x + j of the tile, so a lane's elements of a row of sums are
//   also eight neighbours;
//   fragment s of the inner length, which is taken 8 · each at a time, has its indices each · x + s.
#pragma once

#include "lib/matmul_tile.h"
#include "lib/operand.h"
#include "lib/span.h"

// Runs of the `count` rows starting at row + below, each starting at column + beside, of a [rows, columns] matrix whose
// tile at (row, column) is in use.
template <bool whole, uint count, typename T, uint width>
inline void fetch_runs(device const T* matrix, uint rows, uint columns, uint row, uint column, uint below, uint beside,
                       thread Run<T, width>* runs) {
  device const T* corner = matrix + ulong(row) * columns + column;
#pragma unroll
  for (uint i = 0; i < count; ++i) {
    const uint left = left_in_row(row + below + i, rows, column + beside, columns);
    fetch_operand<whole>(corner, below + i, columns, beside, left, runs[i]);
  }
}

// sums += the products of indices [k, k + 8 · each) of the inner length. `whole`: all of them and all of the tile
// exist, in rows of whole aligned spans.
template <bool whole, bool a_transposed, bool b_transposed, typename A, typename B>
inline void direct_step(thread simdgroup_float8x8* sums, device const A* a, device const B* b,
                        constant MatmulArgs& args, uint row, uint column, uint k, uint lane) {
  constexpr uint each = RunStep<A>::each;
  const uint r = fragment_row(lane);
  const uint c = fragment_column(lane);
  Run<A, 2 * each> a_rows[tile_fragments];
  Run<A, tile_fragments> a_columns[2 * each];
  if (a_transposed) {
    fetch_runs<whole, 2 * each>(a, args.inner, args.rows, k, row, each * c, tile_fragments * r, a_columns);
  } else {
    fetch_runs<whole, tile_fragments>(a, args.rows, args.inner, row, k, tile_fragments * r, each * c, a_rows);
  }
  Run<B, each> b_columns[2 * tile_fragments];
  Run<B, 2 * tile_fragments> b_rows[each];
  if (b_transposed) {
    fetch_runs<whole, 2 * tile_fragments>(b, args.columns, args.inner, column, k, tile_fragments * c, each * r,
                                          b_columns);
  } else {
    fetch_runs<whole, each>(b, args.inner, args.columns, k, column, each * r, tile_fragments * c, b_rows);
  }
#pragma unroll
  for (uint s = 0; s < each; ++s) {
    simdgroup_matrix<A, 8, 8> left[tile_fragments];
    simdgroup_matrix<A, 8, 8> right[tile_fragments];
#pragma unroll
    for (uint i = 0; i < tile_fragments; ++i) {
#pragma unroll
      for (uint e = 0; e < 2; ++e) {
        if (a_transposed) {
          put_operand(left[i].thread_elements()[e], run_element(a_columns[each * e + s], i));
        } else {
          put_operand(left[i].thread_elements()[e], run_element(a_rows[i], each * e + s));
        }
        if (b_transposed) {
          put_operand(right[i].thread_elements()[e], run_element(b_columns[tile_fragments * e + i], s));
        } else {
          put_operand(right[i].thread_elements()[e], run_element(b_rows[s], tile_fragments * e + i));
        }
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

// The 32×32 results at (row, column). Operands as in staged_product, multiplied as A is stored. Only tiles at an edge
// are tested against the bounds.
template <bool a_transposed, bool b_transposed, typename A, typename B>
inline void direct_product(thread simdgroup_float8x8* sums, device const A* a, device const B* b,
                           constant MatmulArgs& args, uint row, uint column, uint lane) {
  constexpr uint depth = fragment_width * RunStep<A>::each;
  clear_fragments<tile_fragments * tile_fragments>(sums);
  const bool inside = row + tile_side <= args.rows && column + tile_side <= args.columns;
  const bool aligned = args.a_aligned != 0 && args.b_aligned != 0;
  uint k = 0;
  if (inside && aligned && max(max(args.rows, args.columns), args.inner) <= operand_reach) {
    for (; k + depth <= args.inner; k += depth) {
      direct_step<true, a_transposed, b_transposed>(sums, a, b, args, row, column, k, lane);
    }
  }
  for (; k < args.inner; k += depth) {
    direct_step<false, a_transposed, b_transposed>(sums, a, b, args, row, column, k, lane);
  }
}

// The tile of a simdgroup in its threadgroup: threadgroups have one, two stacked, or two by two.
inline uint2 direct_place(uint group, uint simdgroup, uint simdgroups, constant MatmulArgs& args) {
  const uint down = min(simdgroups, 2u);
  const uint across = simdgroups / down;
  const uint2 block = tile_place(group, (args.columns + across * tile_side - 1) / (across * tile_side),
                                 (args.rows + down * tile_side - 1) / (down * tile_side));
  return uint2((block.x * across + simdgroup / down) * tile_side, (block.y * down + simdgroup % down) * tile_side);
}

// A lane's eight neighbours of row 4x + i of the tile.
inline void row_of_sums(thread simdgroup_float8x8* sums, uint i, thread float* values) {
#pragma unroll
  for (uint j = 0; j < tile_fragments; ++j) {
    values[j] = sums[i * tile_fragments + j].thread_elements()[0];
    values[j + tile_fragments] = sums[i * tile_fragments + j].thread_elements()[1];
  }
}

// finish_forward_span for the tile at (row, column).
template <typename T>
inline void finish_forward_rows(thread simdgroup_float8x8* sums, device T* out, device T* pre, device const uchar* bias,
                                constant MatmulArgs& args, uint row, uint column, uint lane) {
  const uint first = column + tile_fragments * fragment_column(lane);
  float offsets[span_width];
  load_offsets(bias, args, first, offsets);
#pragma unroll
  for (uint i = 0; i < tile_fragments; ++i) {
    const uint r = row + tile_fragments * fragment_row(lane) + i;
    if (r < args.rows) {
      float values[span_width];
      row_of_sums(sums, i, values);
      finish_forward_span(values, offsets, out, pre, args, r, first);
    }
  }
}

// finish_backward_span for the tile.
template <typename T>
inline void finish_backward_rows(thread simdgroup_float8x8* sums, device T* din, device const T* pre,
                                 constant MatmulArgs& args, uint row, uint column, uint lane) {
#pragma unroll
  for (uint i = 0; i < tile_fragments; ++i) {
    const uint r = row + tile_fragments * fragment_row(lane) + i;
    if (r < args.rows) {
      float values[span_width];
      row_of_sums(sums, i, values);
      finish_backward_span(values, din, pre, args, r, column + tile_fragments * fragment_column(lane));
    }
  }
}

// finish_gradient_span for the tile.
template <typename D>
inline void finish_gradient_rows(thread simdgroup_float8x8* sums, device D* target, constant MatmulArgs& args, uint row,
                                 uint column, uint lane) {
#pragma unroll
  for (uint i = 0; i < tile_fragments; ++i) {
    const uint r = row + tile_fragments * fragment_row(lane) + i;
    if (r < args.rows) {
      float values[span_width];
      row_of_sums(sums, i, values);
      finish_gradient_span(values, target, args, r, column + tile_fragments * fragment_column(lane));
    }
  }
}
