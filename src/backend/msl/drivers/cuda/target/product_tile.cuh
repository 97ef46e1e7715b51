// Products on NVIDIA: tiles of side × side results by threadgroups of four simdgroups. Included inside a unit's
// namespace.
//
// Operands of 16 bits go 32 deep and three stages ahead through threadgroup memory to the tensor cores; floats 16 deep
// and two stages ahead, each lane multiplying runs of rows by pairs of columns. Either way sums[blocks · i + j] is
// block (i, j) of the simdgroup's quarter, of which a lane has row lane / 4, columns 2 · (lane % 4) and the next.
#pragma once

#include "backend/msl/drivers/cuda/target/stage_units.cuh"

template <uint side, typename S>
struct ProductTile {
  static constexpr bool narrow = sizeof(S) == 2;
  static constexpr uint half = side / 2;                 // of a simdgroup's quarter
  static constexpr uint blocks = half / fragment_width;  // along each side of it
  static constexpr uint fragments = blocks * blocks;
  static constexpr uint depth = narrow ? 32 : 16;
  static constexpr uint stages = narrow ? 3 : 2;
  static constexpr uint pitch = depth + 4;  // floats of a row of floats, against bank conflicts
  static constexpr uint stage_words = narrow ? side * depth / 8 : side * pitch / 4;  // of an operand
  static constexpr uint words = stages * stage_words;
};

// Stages step number `step` of an operand of `length` rows: its [side, depth] part at `corner`, or [depth, side] if by
// columns.
template <uint side, bool by_columns, typename S, typename T>
__device__ __forceinline__ void stage_operand(uint4* words, const T* data, uint length, uint inner, uint corner,
                                              uint step, uint aligned, uint position) {
  using Tile = ProductTile<side, S>;
  constexpr uint rows = by_columns ? Tile::depth : side;
  constexpr uint columns = by_columns ? side : Tile::depth;
  const uint row = by_columns ? step * Tile::depth : corner;
  const uint column = by_columns ? corner : step * Tile::depth;
  const uint height = by_columns ? inner : length;
  const uint width = by_columns ? length : inner;
  if constexpr (Tile::narrow) {
    stage_units<rows, columns / 8>(words, data, width, row, column, height, width, aligned != 0, position);
  } else {
    stage_floats<rows, columns, by_columns ? side : Tile::pitch>(reinterpret_cast<float*>(words), data, width, row,
                                                                 column, height, width, aligned != 0, position);
  }
}

// sums += the product of a stage, on tensor cores.
template <uint side, bool a_transposed, bool b_transposed, typename S>
__device__ __forceinline__ void multiply_stage(simdgroup_float8x8* sums, const uint4* a_tile, const uint4* b_tile,
                                               uint row, uint column, uint lane) {
  using Tile = ProductTile<side, S>;
  constexpr uint a_units = (a_transposed ? side : Tile::depth) / 8;
  constexpr uint b_units = (b_transposed ? Tile::depth : side) / 8;
#pragma unroll
  for (uint k = 0; k < Tile::depth; k += 16) {
    uint left[Tile::half / 16][4];
    uint right[Tile::half / 16][4];
#pragma unroll
    for (uint i = 0; i < Tile::half / 16; ++i) {
      tensor_core::load_left<a_units, a_transposed>(left[i], a_tile, row + 16 * i, k, lane);
      tensor_core::load_right<b_units, b_transposed>(right[i], b_tile, k, column + 16 * i, lane);
    }
#pragma unroll
    for (uint i = 0; i < Tile::half / 16; ++i) {
#pragma unroll
      for (uint j = 0; j < Tile::blocks; ++j) {
        tensor_core::multiply<S>(sums[2 * i * Tile::blocks + j].thread_elements(),
                                 sums[(2 * i + 1) * Tile::blocks + j].thread_elements(), left[i],
                                 right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

// Element `k`, `k` + 1, `k` + 2 and `k` + 3 along the inner length of the operand's row or column `at`.
template <uint side, bool by_columns>
__device__ __forceinline__ void take_four(float (&values)[4], const float* tile, uint at, uint k) {
  if constexpr (by_columns) {
#pragma unroll
    for (uint i = 0; i < 4; ++i) {
      values[i] = tile[(k + i) * side + at];
    }
  } else {
    const float4 four = *reinterpret_cast<const float4*>(tile + at * ProductTile<side, float>::pitch + k);
    values[0] = four.x;
    values[1] = four.y;
    values[2] = four.z;
    values[3] = four.w;
  }
}

// sums += the product of a stage of floats, each sum in the order of the inner length.
template <uint side, bool a_transposed, bool b_transposed>
__device__ __forceinline__ void multiply_float_stage(simdgroup_float8x8* sums, const uint4* a_words,
                                                     const uint4* b_words, uint row, uint column, uint lane) {
  using Tile = ProductTile<side, float>;
  const float* a_tile = reinterpret_cast<const float*>(a_words);
  const float* b_tile = reinterpret_cast<const float*>(b_words);
#pragma unroll
  for (uint k = 0; k < Tile::depth; k += 4) {
    float left[Tile::blocks][4];
#pragma unroll
    for (uint i = 0; i < Tile::blocks; ++i) {
      take_four<side, a_transposed>(left[i], a_tile, row + 8 * i + lane / 4, k);
    }
#pragma unroll
    for (uint j = 0; j < Tile::blocks; ++j) {
      float right[2][4];
#pragma unroll
      for (uint e = 0; e < 2; ++e) {
        take_four<side, !b_transposed>(right[e], b_tile, column + 8 * j + lane % 4 * 2 + e, k);
      }
#pragma unroll
      for (uint n = 0; n < 4; ++n) {
#pragma unroll
        for (uint i = 0; i < Tile::blocks; ++i) {
#pragma unroll
          for (uint e = 0; e < 2; ++e) {
            float& sum = sums[i * Tile::blocks + j].thread_elements()[e];
            sum = ::fmaf(left[i][n], right[e][n], sum);
          }
        }
      }
    }
  }
}

// The tile's results at (row, column): sums = A · B of this simdgroup's quarter. A is [rows, inner], or [inner, rows]
// if transposed; B is [inner, columns], or [columns, inner] if transposed. Both have Tile::words of memory.
template <uint side, bool a_transposed, bool b_transposed, typename S, typename A, typename B>
__device__ __forceinline__ void multiply_tile(simdgroup_float8x8* sums, uint4* a_words, uint4* b_words, const A* a,
                                              const B* b, const MatmulArgs& args, uint row, uint column,
                                              uint position) {
  using Tile = ProductTile<side, S>;
  constexpr uint stages = Tile::stages;
  constexpr uint words = Tile::stage_words;
  const uint lane = position % 32;
  const uint own_row = position / 64 * Tile::half;
  const uint own_column = position / 32 % 2 * Tile::half;
  const uint steps = (args.inner + Tile::depth - 1) / Tile::depth;
  const auto stage = [&](uint step, uint slot) {
    if (step < steps) {
      stage_operand<side, a_transposed, S>(a_words + slot * words, a, args.rows, args.inner, row, step, args.a_aligned,
                                           position);
      stage_operand<side, !b_transposed, S>(b_words + slot * words, b, args.columns, args.inner, column, step,
                                            args.b_aligned, position);
    }
    tensor_core::end_batch();
  };
  clear_fragments<Tile::fragments>(sums);
#pragma unroll
  for (uint step = 0; step + 1 < stages; ++step) {
    stage(step, step);
  }
  uint slot = 0;
  for (uint step = 0; step < steps; ++step) {
    tensor_core::wait_for_batches<stages - 2>();
    // Behind this, the stage is there for all, and nobody reads the one before it.
    __syncthreads();
    stage(step + stages - 1, (slot + stages - 1) % stages);
    const uint4* a_tile = a_words + slot * words;
    const uint4* b_tile = b_words + slot * words;
    if constexpr (Tile::narrow) {
      multiply_stage<side, a_transposed, b_transposed, S>(sums, a_tile, b_tile, own_row, own_column, lane);
    } else {
      multiply_float_stage<side, a_transposed, b_transposed>(sums, a_tile, b_tile, own_row, own_column, lane);
    }
    slot = slot + 1 == stages ? 0 : slot + 1;
  }
  tensor_core::wait_for_batches<0>();
}

// The first of a thread's columns in for_each_span.
template <uint side>
__device__ __forceinline__ uint span_column(uint position) {
  return position % (side / span_width) * span_width;
}

// Sums go through threadgroup memory, 32 rows at a time, so that a thread has eight neighbours of a row. Calls
// finish(values, row, column) for each eight of a thread inside the results.
template <uint side, typename S, typename Finish>
__device__ __forceinline__ void for_each_span(simdgroup_float8x8* sums, uint4* words, const MatmulArgs& args, uint row,
                                              uint column, uint position, Finish finish) {
  using Tile = ProductTile<side, S>;
  constexpr uint rows_a_turn = 32;
  constexpr uint turns = Tile::half / rows_a_turn;  // of a simdgroup
  constexpr uint pitch = side + 4;                  // floats, against bank conflicts
  static_assert(rows_a_turn * pitch <= 4 * Tile::words);
  float* memory = reinterpret_cast<float*>(words);
  const uint lane = position % 32;
  const uint first = span_column<side>(position);
#pragma unroll
  for (uint turn = 0; turn < 2 * turns; ++turn) {
    __syncthreads();
    if (position / 64 == turn / turns) {
#pragma unroll
      for (uint i = 0; i < rows_a_turn / 8; ++i) {
        float* to = memory + (8 * i + lane / 4) * pitch + position / 32 % 2 * Tile::half + lane % 4 * 2;
#pragma unroll
        for (uint j = 0; j < Tile::blocks; ++j) {
          const auto& pair = sums[(turn % turns * 4 + i) * Tile::blocks + j].thread_elements();
          *reinterpret_cast<float2*>(to + 8 * j) = float2(pair[0], pair[1]);
        }
      }
    }
    __syncthreads();
#pragma unroll 1
    for (uint r = position / (side / span_width); r < rows_a_turn; r += stage_threads * span_width / side) {
      const uint own_row = row + turn * rows_a_turn + r;
      if (own_row < args.rows && column + first < args.columns) {
        float values[span_width];
        load_aligned(memory + r * pitch + first, values);
        finish(values, own_row, column + first);
      }
    }
  }
}

// The ends of the three products, as in lib/matmul_tile.h, for a tile's sums.
template <uint side, typename T>
__device__ __forceinline__ void finish_forward_tile(simdgroup_float8x8* sums, uint4* words, T* out, T* pre,
                                                    const uchar* bias, const MatmulArgs& args, uint row, uint column,
                                                    uint position) {
  float offsets[span_width];
  load_offsets(bias, args, column + span_column<side>(position), offsets);
  for_each_span<side, T>(sums, words, args, row, column, position, [&](float* values, uint r, uint first) {
    finish_forward_span(values, offsets, out, pre, args, r, first);
  });
}

template <uint side, typename T>
__device__ __forceinline__ void finish_backward_tile(simdgroup_float8x8* sums, uint4* words, T* din, const T* pre,
                                                     const MatmulArgs& args, uint row, uint column, uint position) {
  for_each_span<side, T>(sums, words, args, row, column, position, [&](float* values, uint r, uint first) {
    finish_backward_span(values, din, pre, args, r, first);
  });
}

template <uint side, typename D>
__device__ __forceinline__ void finish_gradient_tile(simdgroup_float8x8* sums, uint4* words, D* target,
                                                     const MatmulArgs& args, uint row, uint column, uint position) {
  for_each_span<side, D>(sums, words, args, row, column, position, [&](float* values, uint r, uint first) {
    finish_gradient_span(values, target, args, r, first);
  });
}
