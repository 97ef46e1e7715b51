// A warp's tile of a quantised weight: how it comes to shared memory in stages, and how its words become left operands
// of tensor cores.
//
// Operands may take the inner length in any order if both take the same. Within a group of 32, lane t of four has eight
// neighbours in 8 bits, and in 4 bits the elements 4 · t to 4 · t + 3 and those 16 behind, as they lie in its bytes; of
// four neighbours, those of even number come first, since they have every second byte of a word.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <type_traits>

#include "backend/msl/drivers/cuda/msl_begin.cuh"
#include "backend/msl/drivers/cuda/msl_tensor_core.cuh"
#include "backend/msl/drivers/cuda/quantised_product.h"
#include "backend/msl/drivers/cuda/shared_memory.cuh"

namespace mslt::msl::cuda {
namespace {

// Neighbours in a row that share a scale.
constexpr unsigned weight_group = 32;
// Rows of the weight that a warp has at once.
constexpr unsigned tile_rows = 16;
// Bytes of a row that come in one stage.
constexpr unsigned stage_row = 128;

template <unsigned bits>
struct Stage {
  static constexpr unsigned length = stage_row * 8 / bits;  // of the inner length
  static constexpr unsigned groups = length / weight_group;
  // So that the words that lanes read at once lie in different banks.
  static constexpr unsigned stride = stage_row + (bits == 8 ? 32 : 16);
  static constexpr unsigned scale_bytes = bits == 8 ? 2 : 4;  // of a group: a scale, and for 4 bits a minimum
  static constexpr unsigned scales_at = tile_rows * stride;
  static constexpr unsigned bytes = scales_at + tile_rows * groups * scale_bytes;
};

// Copies `bytes` bytes, 4 or 8, to shared memory in the background, or zeros if not `exists`.
template <unsigned bytes>
__device__ __forceinline__ void copy_some(void* to, const void* from, bool exists) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from), "n"(bytes),
               "r"(exists ? bytes : 0u)
               : "memory");
}

// Asks for stages of tiles of the weight, of which each lane copies the same places every time.
template <unsigned bits>
class StageReader {
 public:
  explicit __device__ StageReader(const QuantisedProduct& product) : product_(&product) {}

  // Turns to the tile that begins with row `first` of the weight. Past the last row, that row stands in.
  __device__ __forceinline__ void begin_tile(unsigned first) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned last = product_->outputs - 1;
#pragma unroll
    for (unsigned i = 0; i < copies; ++i) {
      const std::size_t row = min(first + (i * 32 + lane) / units, last);
      rows_[i] = static_cast<const unsigned char*>(product_->weight) + row * row_bytes() + lane % units * 16;
    }
#pragma unroll
    for (unsigned i = 0; i < scale_copies; ++i) {
      const std::size_t row = min(first + (i * 32 + lane) / scale_units, last);
      scales_[i] = static_cast<const unsigned char*>(product_->scales) + row * scale_row_bytes() +
                   lane % scale_units * scale_unit;
    }
  }

  // Past the end of a row come zeros.
  __device__ __forceinline__ void fetch(unsigned char* stage, unsigned number) const {
    const unsigned lane = threadIdx.x % 32;
    const unsigned at = number * stage_row;
    const bool exists = at + lane % units * 16 < row_bytes();
    const unsigned offset = exists ? at : 0;
    unsigned char* const to = stage + lane / units * S::stride + lane % units * 16;
#pragma unroll
    for (unsigned i = 0; i < copies; ++i) {
      metal::tensor_core::copy_unit(to + i * (32 / units) * S::stride, rows_[i] + offset, exists);
    }
    const unsigned scale_at = number * scale_row;
    const bool scale_exists = scale_at + lane % scale_units * scale_unit < scale_row_bytes();
    const unsigned scale_offset = scale_exists ? scale_at : 0;
    unsigned char* const scales_to = stage + S::scales_at + lane * scale_unit;
#pragma unroll
    for (unsigned i = 0; i < scale_copies; ++i) {
      copy_some<scale_unit>(scales_to + i * 32 * scale_unit, scales_[i] + scale_offset, scale_exists);
    }
  }

 private:
  using S = Stage<bits>;
  static constexpr unsigned units = stage_row / 16;
  static constexpr unsigned copies = tile_rows * units / 32;
  // Scales of two groups.
  static constexpr unsigned scale_unit = 2 * S::scale_bytes;
  static constexpr unsigned scale_row = S::groups * S::scale_bytes;
  static constexpr unsigned scale_units = scale_row / scale_unit;
  static constexpr unsigned scale_copies = tile_rows * scale_units / 32;

  __device__ unsigned row_bytes() const { return product_->inner * bits / 8; }
  __device__ unsigned scale_row_bytes() const { return product_->inner / weight_group * S::scale_bytes; }

  const QuantisedProduct* product_;
  const unsigned char* rows_[copies];
  const unsigned char* scales_[scale_copies];
};

// (word & mask) | other in one instruction; constants that are no operands of its own would take another.
__device__ __forceinline__ unsigned select_or(unsigned word, unsigned mask, unsigned other) {
  unsigned result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(word), "r"(mask), "r"(other));
  return result;
}

// (word & mask) ^ other.
__device__ __forceinline__ unsigned select_xor(unsigned word, unsigned mask, unsigned other) {
  unsigned result;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(result) : "r"(word), "r"(mask), "r"(other));
  return result;
}

// Differences of two pairs of 16-bit elements.
template <typename T>
__device__ __forceinline__ unsigned subtract(unsigned a, unsigned b) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 difference = __hsub2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
    return *reinterpret_cast<const unsigned*>(&difference);
  } else {
    const __nv_bfloat162 difference =
        __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&a), *reinterpret_cast<const __nv_bfloat162*>(&b));
    return *reinterpret_cast<const unsigned*>(&difference);
  }
}

// What is added to a weight of 4 bits in an operand: in bf16 it stays there, and the group's minimum makes up for it.
template <typename T>
constexpr float half_byte_offset = std::is_same_v<T, __half> ? 0.0f : 128.0f;

// Bytes 0 and 2 of a word, signed, as 16-bit elements.
template <typename T>
__device__ __forceinline__ unsigned elements_of_bytes(unsigned word) {
  if constexpr (std::is_same_v<T, __half>) {
    // 1024 + 128 + the byte.
    return subtract<T>(select_xor(word, 0x00ff00ffu, 0x64806480u), 0x64806480u);
  } else {
    // 128 + the low seven bits, less 128, or 256 for a negative byte.
    return subtract<T>(select_or(word, 0x007f007fu, 0x43004300u), select_or(word, 0x00800080u, 0x43004300u));
  }
}

// The low half bytes of bytes 0 and 2 of a word as 16-bit elements, plus half_byte_offset.
template <typename T>
__device__ __forceinline__ unsigned elements_of_half_bytes(unsigned word) {
  if constexpr (std::is_same_v<T, __half>) {
    return subtract<T>(select_or(word, 0x000f000fu, 0x64006400u), 0x64006400u);
  } else {
    return select_or(word, 0x000f000fu, 0x43004300u);
  }
}

// The two left operands of a group, of the tile's rows lane / 4 and lane / 4 + 8.
template <typename T, unsigned bits>
__device__ __forceinline__ void load_group(unsigned (&operands)[2][4], const unsigned char* stage, unsigned group) {
  const unsigned lane = threadIdx.x % 32;
#pragma unroll
  for (unsigned half = 0; half < 2; ++half) {
    const unsigned char* const row =
        stage + (lane / 4 + 8 * half) * Stage<bits>::stride + group * weight_group * bits / 8 + lane % 4 * bits;
    if constexpr (bits == 8) {
      const uint2 words = *reinterpret_cast<const uint2*>(row);
      operands[0][half] = elements_of_bytes<T>(words.x);
      operands[0][half + 2] = elements_of_bytes<T>(words.x >> 8);
      operands[1][half] = elements_of_bytes<T>(words.y);
      operands[1][half + 2] = elements_of_bytes<T>(words.y >> 8);
    } else {
      const unsigned word = *reinterpret_cast<const unsigned*>(row);
      operands[0][half] = elements_of_half_bytes<T>(word);
      operands[0][half + 2] = elements_of_half_bytes<T>(word >> 8);
      operands[1][half] = elements_of_half_bytes<T>(word >> 4);
      operands[1][half + 2] = elements_of_half_bytes<T>(word >> 12);
    }
  }
}

// Where elements [8 · unit, 8 · unit + 4) of a group lie in the order of its operands; the next four lie `next` behind.
template <unsigned bits>
struct PlaceInGroup {
  static constexpr unsigned next = bits == 8 ? 4 : 8;
  __device__ static unsigned of_unit(unsigned unit) { return bits == 8 ? unit * 8 : unit % 2 * 16 + unit / 2 * 4; }
};

}  // namespace
}  // namespace mslt::msl::cuda
