// Products of 16 rows a simdgroup with tiles in threadgroup memory, for the attention kernels on NVIDIA. Included
// inside a unit's namespace.
//
// A threadgroup of four simdgroups has attention_tile rows of a head and visits the rows of the other side some at a
// time. A tile is `depth` units wide, room for heads of up to 8 · depth, with zeros behind the head.
#pragma once

#include "backend/msl/drivers/cuda/target/stage_units.cuh"

constexpr uint attention_tile = ::mslt::msl::cuda::attention_tile;

// Heads and types that have such kernels; the others have those for all targets.
template <typename T, uint parts>
constexpr bool has_attention_tiles = sizeof(T) == 2 && parts == 1;

// 16 rows and 8 · blocks columns over a simdgroup: of columns 8n + 2 · (lane % 4) + e, a lane has [0][n][e] in row lane
// / 4 and [1][n][e] in row lane / 4 + 8.
template <uint blocks>
struct RowSums {
  float values[2][blocks][2];
};

template <uint blocks>
__device__ __forceinline__ void clear_rows(RowSums<blocks>& sums) {
#pragma unroll
  for (uint i = 0; i < 4 * blocks; ++i) {
    sums.values[i / (2 * blocks)][i / 2 % blocks][i % 2] = 0.0f;
  }
}

// Calls f(half, block, element) for each element of a lane.
template <uint blocks, typename F>
__device__ __forceinline__ void for_each_element(F f) {
#pragma unroll
  for (uint half = 0; half < 2; ++half) {
#pragma unroll
    for (uint block = 0; block < blocks; ++block) {
#pragma unroll
      for (uint element = 0; element < 2; ++element) {
        f(half, block, element);
      }
    }
  }
}

// sums = the products of the 16 rows of `left` from `row` on with the first 8 · blocks rows of `right`.
template <typename T, uint depth, uint blocks>
__device__ __forceinline__ void multiply_by_rows(RowSums<blocks>& sums, const uint4* left, uint row, const uint4* right,
                                                 uint lane) {
  clear_rows(sums);
#pragma unroll
  for (uint k = 0; k < 8 * depth; k += 16) {
    uint a[4];
    tensor_core::load_left<depth, false>(a, left, row, k, lane);
#pragma unroll
    for (uint n = 0; n < blocks; n += 2) {
      uint b[4];
      tensor_core::load_right<depth, true>(b, right, k, 8 * n, lane);
      tensor_core::multiply<T>(sums.values[0][n], sums.values[1][n], a, b[0], b[1]);
      tensor_core::multiply<T>(sums.values[0][n + 1], sums.values[1][n + 1], a, b[2], b[3]);
    }
  }
}

// sums += weights · the first 8 · blocks rows of `right`; weights are rounded to T.
template <typename T, uint depth, uint blocks>
__device__ __forceinline__ void add_weighted_tile(RowSums<depth>& sums, const RowSums<blocks>& weights,
                                                  const uint4* right, uint lane) {
#pragma unroll
  for (uint n = 0; n < blocks; n += 2) {
    uint a[4];
#pragma unroll
    for (uint i = 0; i < 4; ++i) {
      const auto& pair = weights.values[i % 2][n + i / 2];
      a[i] = tensor_core::pair_of<T>(pair[0], pair[1]);
    }
#pragma unroll
    for (uint d = 0; d < depth; d += 2) {
      uint b[4];
      tensor_core::load_right<depth, false>(b, right, 8 * n, 8 * d, lane);
      tensor_core::multiply<T>(sums.values[0][d], sums.values[1][d], a, b[0], b[1]);
      tensor_core::multiply<T>(sums.values[0][d + 1], sums.values[1][d + 1], a, b[2], b[3]);
    }
  }
}

// Writes factor[half] · sums to the 16 rows from `row` on and the columns of a head.
template <typename T, uint depth>
__device__ __forceinline__ void store_tile_rows(const RowSums<depth>& sums, const float (&factor)[2], T* data,
                                                uint stride, uint row, const AttentionArgs& args, uint lane) {
#pragma unroll
  for (uint half = 0; half < 2; ++half) {
    const uint r = row + lane / 4 + 8 * half;
    if (r < args.steps) {
      T* to = data + ulong(r) * stride;
#pragma unroll
      for (uint d = 0; d < depth; ++d) {
        const uint column = 8 * d + lane % 4 * 2;
        const float first = sums.values[half][d][0] * factor[half];
        const float second = sums.values[half][d][1] * factor[half];
        if (args.aligned != 0) {
          if (column < args.head_size) {
            *reinterpret_cast<uint*>(to + column) = tensor_core::pair_of<T>(first, second);
          }
        } else {
          if (column < args.head_size) {
            to[column] = T(first);
          }
          if (column + 1 < args.head_size) {
            to[column + 1] = T(second);
          }
        }
      }
    }
  }
}

// Stages `rows` rows of a head, at `data` in row 0.
template <uint rows, uint depth, typename T>
__device__ __forceinline__ void stage_head(uint4* tile, const T* data, uint stride, uint row, const AttentionArgs& args,
                                           uint position) {
  stage_units<rows, depth>(tile, data, stride, row, 0, args.steps, args.head_size, args.aligned != 0, position);
}

// The random words of a lane's elements, where lanes of whole blocks of four neighbouring keys share the blocks' words.
__device__ __forceinline__ uint dropout_word(const DropoutStream& dropout, ulong element) {
  return philox_word_of(philox_block(dropout.seed, dropout.step, dropout.operation, element / 4), uint(element & 3u));
}

// Exchanges `one` of lanes whose bit is set with `zero` of those `bit` lanes before them.
__device__ __forceinline__ void exchange_words(uint& zero, uint& one, uint lane, uint bit) {
  const bool is_set = (lane & bit) != 0;
  const uint other = simd_shuffle_xor(is_set ? zero : one, bit);
  zero = is_set ? other : zero;
  one = is_set ? one : other;
}

// The dropout factors of a lane's two rows of queries and two neighbouring keys: factors[half][element]. `element` is
// that of the first of the eight keys of row lane / 4. `whole`: blocks of keys do not straddle rows.
__device__ __forceinline__ void query_factors(const DropoutStream& dropout, ulong element, uint steps, bool whole,
                                              uint lane, float (&factors)[2][2]) {
  uint words[4];
  const uint pair = lane % 4 * 2;
  if (whole) {
    // Even lanes have the block of the first row, odd ones that of the second.
    const ulong own = element + (lane % 2 != 0 ? ulong(8) * steps : 0) + (pair & 4u);
    const uint4 block = philox_block(dropout.seed, dropout.step, dropout.operation, own / 4);
    words[0] = block.x;
    words[1] = block.y;
    words[2] = block.z;
    words[3] = block.w;
    exchange_words(words[0], words[2], lane, 1);
    exchange_words(words[1], words[3], lane, 1);
  } else {
#pragma unroll
    for (uint i = 0; i < 4; ++i) {
      words[i] = dropout_word(dropout, element + ulong(i / 2 * 8) * steps + pair + i % 2);
    }
  }
#pragma unroll
  for (uint i = 0; i < 4; ++i) {
    factors[i / 2][i % 2] = drop_value(dropout, words[i], 1.0f);
  }
}

// The same where rows are keys and columns queries. `element` is that of the first key of the 16 and the first query of
// the eight.
__device__ __forceinline__ void key_factors(const DropoutStream& dropout, ulong element, uint steps, bool whole,
                                            uint lane, float (&factors)[2][2]) {
  uint words[4];
  const ulong query = element + ulong(lane % 4 * 2) * steps;
  if (whole) {
    // Of four lanes with neighbouring keys, each has the block of one half and element.
    const uint own = lane / 4 % 4;
    const ulong first = query + ulong(own % 2) * steps + own / 2 * 8 + lane / 16 * 4;
    const uint4 block = philox_block(dropout.seed, dropout.step, dropout.operation, first / 4);
    words[0] = block.x;
    words[1] = block.y;
    words[2] = block.z;
    words[3] = block.w;
    exchange_words(words[0], words[1], lane, 4);
    exchange_words(words[2], words[3], lane, 4);
    exchange_words(words[0], words[2], lane, 8);
    exchange_words(words[1], words[3], lane, 8);
  } else {
#pragma unroll
    for (uint i = 0; i < 4; ++i) {
      words[i] = dropout_word(dropout, query + ulong(i % 2) * steps + i / 2 * 8 + lane / 4);
    }
  }
#pragma unroll
  for (uint i = 0; i < 4; ++i) {
    factors[i / 2][i % 2] = drop_value(dropout, words[i], 1.0f);
  }
}

// 2^x, within two units of the last place.
__device__ __forceinline__ float power_of_two(float x) {
  return fast::exp2(x);
}
