// A threadgroup's share of the weight of a product of few rows: as it comes to shared memory, and as 16-bit elements
// that hold the norm's weight.
#pragma once

#include <cstddef>
#include <type_traits>

#include "backend/msl/drivers/cuda/element_math.cuh"
#include "backend/msl/drivers/cuda/few_rows_product.h"
#include "backend/msl/drivers/cuda/msl_begin.cuh"
#include "backend/msl/drivers/cuda/msl_tensor_core.cuh"
#include "backend/msl/drivers/cuda/shared_memory.cuh"

namespace mslt::msl::cuda {
namespace {

// Elements of 16 bytes.
constexpr unsigned unit = 8;
// Neighbours in a row that share a scale.
constexpr unsigned weight_group = 32;

// The type's name in the Metal runtime, whose instructions this kernel shares.
template <typename T>
using MetalOf = std::conditional_t<std::is_same_v<T, __nv_bfloat16>, metal::bfloat, metal::half>;

// Two elements in a word.
template <typename T>
__device__ __forceinline__ unsigned pack(float first, float second) {
  return metal::tensor_core::pair_of<MetalOf<T>>(first, second);
}

template <typename T>
__device__ __forceinline__ uint4 load_unit(const T* row, unsigned at, unsigned units) {
  return at < units ? reinterpret_cast<const uint4*>(row)[at] : uint4{};
}

// What a norm leaves for the results of a column of the threadgroup.
struct OfColumn {
  float weight;  // the sum of w'
  float offset;  // the sum of offset · w
};

// Rows of a quantised weight in shared memory, `bytes` each, and their scales, `scale_words` each: a half for each
// group of 8 bits, a half and the minimum for each of 4 bits.
struct RawWeight {
  const unsigned char* rows;
  unsigned bytes;
  unsigned* scales;
  unsigned scale_words;
};

// Words of scales that belong to so many elements of a row.
__host__ __device__ __forceinline__ unsigned scale_words(const FewRowsProduct& product, unsigned elements) {
  return product.bits == 4 ? elements / weight_group : elements / weight_group / 2;
}

// Byte 0 to 3 of a word as a float: added to 2^23 in its representation, and that taken away.
__device__ __forceinline__ float byte_of(unsigned word, unsigned number, float base) {
  return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440u | number)) - base;
}

// Eight weights of a row, from its element unit · at on.
template <unsigned bits>
__device__ __forceinline__ void load_weights(const RawWeight& raw, unsigned row, unsigned at, float (&w)[unit]) {
  constexpr unsigned units_a_group = weight_group / unit;
  const unsigned group = at / units_a_group;
  const unsigned* const scales = raw.scales + row * raw.scale_words;
  const uint2* const words = reinterpret_cast<const uint2*>(raw.rows + row * raw.bytes);
  if constexpr (bits == 8) {
    const float scale = __half2float(reinterpret_cast<const __half*>(scales)[group]);
    const uint2 raw_bytes = words[at];
    // Flipping the sign bit adds 128.
    constexpr float base = 8388608.0f + 128.0f;
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      w[k] = scale * byte_of(raw_bytes.x ^ 0x80808080u, k, base);
      w[k + 4] = scale * byte_of(raw_bytes.y ^ 0x80808080u, k, base);
    }
  } else {
    // Byte j of a group's 16 holds element j in its low and j + 16 in its high half.
    const float2 factors = __half22float2(reinterpret_cast<const __half2*>(scales)[group]);
    const uint2 raw_bytes = words[2 * group + at % 2];
    const unsigned shift = at % units_a_group / 2 * 4;
    const unsigned low = raw_bytes.x >> shift & 0x0f0f0f0fu;
    const unsigned high = raw_bytes.y >> shift & 0x0f0f0f0fu;
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
      w[k] = fmaf(byte_of(low, k, 8388608.0f), factors.x, factors.y);
      w[k + 4] = fmaf(byte_of(high, k, 8388608.0f), factors.x, factors.y);
    }
  }
}

// Brings the scales of `columns` rows of the weight, from `first_column` on, to shared memory.
__device__ __forceinline__ void copy_scales(const FewRowsProduct& product, const RawWeight& raw, unsigned first_column,
                                            unsigned columns, unsigned part) {
  const unsigned* const from = static_cast<const unsigned*>(product.scales);
  for (unsigned i = threadIdx.x; i < columns * raw.scale_words; i += blockDim.x) {
    const std::size_t row = first_column + i / raw.scale_words;
    raw.scales[i] = from[(row * product.parts + part) * raw.scale_words + i % raw.scale_words];
  }
  __syncthreads();
}

// Makes rows of weights in shared memory, `slice` elements each, 16-bit elements and, where there is a norm, their
// products with its weight; one row a warp at a time. With 16 bits they are there already.
template <typename T, unsigned bits>
__device__ __forceinline__ void prepare_weight(const FewRowsProduct& product, T* right, unsigned stride, unsigned slice,
                                               unsigned rows, const RawWeight& raw, OfColumn* columns) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned units = slice / unit;
  const bool has_norm = product.norm != 0;
  const unsigned offset_units = product.offset != nullptr ? units : 0;
#pragma unroll 1
  for (unsigned row = threadIdx.x / 32; row < rows; row += blockDim.x / 32) {
    OfColumn sums = {0.0f, 0.0f};
#pragma unroll 1
    for (unsigned at = lane; at < units; at += 32) {
      uint4& own = reinterpret_cast<uint4*>(right + row * stride)[at];
      float w[unit];
      if constexpr (bits == 16) {
        unpack<T>(own, w);
      } else {
        load_weights<bits>(raw, row, at, w);
      }
      if (has_norm) {
        float gain[unit];
        float offset[unit];
        unpack<T>(load_unit(static_cast<const T*>(product.gain), at, units), gain);
        unpack<T>(load_unit(static_cast<const T*>(product.offset), at, offset_units), offset);
#pragma unroll
        for (unsigned k = 0; k < unit; ++k) {
          sums.offset = fmaf(offset[k], w[k], sums.offset);
          w[k] *= gain[k] + product.weight_offset;
        }
      }
      own = {pack<T>(w[0], w[1]), pack<T>(w[2], w[3]), pack<T>(w[4], w[5]), pack<T>(w[6], w[7])};
      if (has_norm) {
        unpack<T>(own, w);
#pragma unroll
        for (unsigned k = 0; k < unit; ++k) sums.weight += w[k];
      }
    }
    if (has_norm) {
      sums = {sum_of_warp(sums.weight), sum_of_warp(sums.offset)};
      if (lane == 0) columns[row] = sums;
    }
  }
}

}  // namespace
}  // namespace mslt::msl::cuda
