// Of the kernel of chains: shared memory, its barriers, and words between threadgroups.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/msl/drivers/cuda/decode_chain.h"
#include "backend/msl/drivers/cuda/element_math.cuh"
#include "backend/msl/drivers/cuda/shared_memory.cuh"

namespace mslt::msl::cuda {
namespace {

constexpr unsigned warps = 12;  // that compute
constexpr unsigned finishing_warp = warps;
constexpr unsigned copying_warp = warps + 1;
constexpr unsigned threads = 32 * (warps + 2);
constexpr unsigned tiles = 5;
constexpr unsigned tile_bytes = 36864;
constexpr unsigned most_tile_rows = 32;
// Steps that are read ahead.
constexpr unsigned orders = 4;
// Elements of 16 bytes, and of a word that carries them between threadgroups twice.
constexpr unsigned span = 8;
constexpr unsigned quad = 4;
// Positions in a block of the cache.
constexpr unsigned block_positions = 16;

struct Shared {
  alignas(128) unsigned char tile[tiles][tile_bytes];
  // A product's input or its norm: the first and the second half of each span.
  float4 low[chain_most_inner / span];
  float4 high[chain_most_inner / span];
  // Of products: by the parity of a tile, row and part. Of attention: by warp.
  float partial[2][most_tile_rows * warps];
  float joined[warps][chain_head_size + 2];
  float2 moments[warps];  // of a norm, by warp: the mean of its elements and the sum of squared distances from that
  ChainStep order[orders];
  // The row's place: its position and the blocks of its sequence.
  int position;
  int table[chain_most_positions / block_positions];
  Barrier tile_full[tiles];
  Barrier tile_free[tiles];
  Barrier order_full[orders];
  Barrier order_free[orders];
  Barrier partial_full[2];
  Barrier partial_free[2];
};

// Past the L1 cache: other threadgroups write what is read in the same launch.
__device__ __forceinline__ uint4 load_shared_by_all(const void* at) {
  uint4 raw;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
               : "l"(at)
               : "memory");
  return raw;
}

template <typename T>
__device__ __forceinline__ float load_one(const T* at) {
  unsigned short bits;
  asm volatile("ld.relaxed.gpu.global.u16 %0, [%1];" : "=h"(bits) : "l"(at) : "memory");
  return to_float(*reinterpret_cast<const T*>(&bits));
}

// Of the warps that compute.
__device__ __forceinline__ void synchronize() {
  asm volatile("bar.sync 1, %0;" ::"n"(32 * warps) : "memory");
}

// Two elements for other threadgroups.
__device__ __forceinline__ void send(std::uint64_t* to, unsigned elements, unsigned number) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(elements),
               "r"(number)
               : "memory");
}

__device__ __forceinline__ uint4 load_words(const std::uint64_t* from) {
  uint4 raw;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
               : "l"(__cvta_generic_to_global(from))
               : "memory");
  return raw;
}

// Quad `at` of a step's input, once it is there.
__device__ __forceinline__ uint2 receive(const std::uint64_t* from, const void* plain, unsigned at, unsigned number) {
  if (from == nullptr) return static_cast<const uint2*>(plain)[at];
  uint4 raw;
  do {
    raw = load_words(from + 2 * at);
  } while (raw.y != number || raw.w != number);
  return {raw.x, raw.z};
}

// The rows of a threadgroup.
struct Share {
  unsigned begin;
  unsigned count;
};
__device__ __forceinline__ Share share_of(const ChainStep& step) {
  return {2 * (blockIdx.x * step.pairs + min(blockIdx.x, step.more)),
          2 * (step.pairs + (blockIdx.x < step.more ? 1 : 0))};
}

// The one thread that reads steps and copies tiles ahead.
__device__ void copy_ahead(const Chain& chain, Shared& shared) {
  unsigned copied = 0;
  for (unsigned i = 0; i < chain.count; ++i) {
    const unsigned order = i % orders;
    if (i >= orders) wait_for(&shared.order_free[order], (i / orders + 1) % 2);
    shared.order[order] = chain.steps[i];
    const ChainStep& step = shared.order[order];
    arrive(&shared.order_full[order]);
    if (step.kind != ChainStep::Kind::product) continue;
    const ChainProduct& product = step.product;
    const Share share = share_of(step);
    if (product.bias != nullptr) ask_line_ahead(static_cast<const unsigned short*>(product.bias) + share.begin);
    // One for all.
    if (i % gridDim.x == blockIdx.x && product.norm != 0) {
      ask_ahead(product.gain, product.inner * 2);
      if (product.offset != nullptr) ask_ahead(product.offset, product.inner * 2);
    }
    const unsigned char* const weight =
        static_cast<const unsigned char*>(product.weight) + std::size_t(share.begin) * product.inner * 2;
    for (unsigned row = 0; row < share.count; row += step.tile_rows, ++copied) {
      const unsigned slot = copied % tiles;
      if (copied >= tiles) wait_for(&shared.tile_free[slot], (copied / tiles + 1) % 2);
      const unsigned bytes = min(step.tile_rows, share.count - row) * product.inner * 2;
      expect_bytes(&shared.tile_full[slot], bytes);
      copy_bulk(shared.tile[slot], weight + std::size_t(row) * product.inner * 2, bytes, &shared.tile_full[slot]);
    }
  }
}

}  // namespace
}  // namespace mslt::msl::cuda
