// The kernel of chains of operations of one row.
//
// One threadgroup a multiprocessor has the same share of every product's rows. Weights depend on nothing in a chain, so
// one warp copies them into a ring of tiles in shared memory as soon as a tile is free, which is long before their step
// begins. Results go from threadgroup to threadgroup in words that hold two elements and the launch's number: who reads
// a word sees by the number whether it is there, so that no fence and no counter stands between two steps (as in the LL
// protocol of NCCL).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "backend/msl/drivers/cuda/decode_chain.h"

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

using Barrier = unsigned long long;

struct Shared {
  alignas(128) unsigned char tile[tiles][tile_bytes];
  // A product's input or its norm: the first and the second half of each span.
  float4 low[chain_most_inner / span];
  float4 high[chain_most_inner / span];
  // Of products: by the parity of a tile, row and part. Of attention: by warp.
  float partial[2][most_tile_rows * warps];
  float joined[warps][chain_head_size + 2];
  // Of a norm, by warp: how many elements it has, their mean and the sum of squared distances from it.
  float counts[warps];
  float means[warps];
  float squares[warps];
  ChainStep order[orders];
  Barrier tile_full[tiles];
  Barrier tile_free[tiles];
  Barrier order_full[orders];
  Barrier order_free[orders];
  Barrier partial_full[2];
  Barrier partial_free[2];
};

template <typename T>
__device__ __forceinline__ float2 pair_of(unsigned word);
template <>
__device__ __forceinline__ float2 pair_of<__nv_bfloat16>(unsigned word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
}
template <>
__device__ __forceinline__ float2 pair_of<__half>(unsigned word) {
  return __half22float2(*reinterpret_cast<const __half2*>(&word));
}

template <typename T>
__device__ __forceinline__ void unpack(const uint4& raw, float* values) {
  const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
    const float2 two = pair_of<T>(words[i]);
    values[2 * i] = two.x;
    values[2 * i + 1] = two.y;
  }
}

__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(__half x) {
  return __half2float(x);
}
template <typename T>
__device__ __forceinline__ unsigned bits_of(T x) {
  return *reinterpret_cast<const unsigned short*>(&x);
}
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

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

__device__ __forceinline__ float sum_of_warp(float x) {
#pragma unroll
  for (unsigned mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}

__device__ __forceinline__ unsigned shared_address(const void* at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

__device__ __forceinline__ void expect_bytes(Barrier* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void copy_bulk(void* to, const void* from, unsigned bytes, Barrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

__device__ __forceinline__ void wait_for(Barrier* barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again_%=;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void initialize(Barrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Of the warps that compute.
__device__ __forceinline__ void synchronize() {
  asm volatile("bar.sync 1, %0;" ::"n"(32 * warps) : "memory");
}

__device__ __forceinline__ void ask_ahead(const void* at, unsigned bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(at)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void ask_line_ahead(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(at)) : "memory");
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

__device__ __forceinline__ float gelu(float x) {
  if (x < -15.0f) return 0.0f;
  if (x > 15.0f) return x;
  const float u = 2.0f * 0.7978845608028654f * (x + 0.044715f * x * x * x);
  const float e = expf(-fabsf(u));
  return x * ((u < 0.0f ? e : 1.0f) / (1.0f + e));
}

__device__ __forceinline__ float activate(unsigned activation, float x) {
  if (activation == 0) return x;
  if (activation == 1) return gelu(x);
  return x < 0.0f ? 0.0f : x;
}

template <typename T>
__device__ __forceinline__ void unpack_quad(const uint2& raw, float* x) {
  const float2 first = pair_of<T>(raw.x);
  const float2 second = pair_of<T>(raw.y);
  x[0] = first.x, x[1] = first.y, x[2] = second.x, x[3] = second.y;
}

__device__ __forceinline__ void put_quad(Shared& shared, unsigned at, const float* x) {
  (at % 2 == 0 ? shared.low : shared.high)[at / 2] = {x[0], x[1], x[2], x[3]};
}
__device__ __forceinline__ void get_quad(const Shared& shared, unsigned at, float* x) {
  const float4 four = (at % 2 == 0 ? shared.low : shared.high)[at / 2];
  x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
}
__device__ __forceinline__ void get_span(const Shared& shared, unsigned at, float* x) {
  get_quad(shared, 2 * at, x);
  get_quad(shared, 2 * at + 1, x + quad);
}

// All warps bring a product's input, or its norm, into shared memory. A whole number of warps has quads. Loops are not
// unrolled here and below where that would only make them long: what a step costs is mostly fetching its instructions.
template <typename T>
__device__ __forceinline__ void load_input(const ChainStep& step, unsigned number, Shared& shared) {
  const ChainProduct& product = step.product;
  constexpr unsigned together = 32 * warps;
  const unsigned quads = product.inner / quad;
  const bool has_norm = product.norm != 0;
  const uint2* const gains = static_cast<const uint2*>(product.gain);
  const uint2* const offsets = static_cast<const uint2*>(product.offset);
  uint2 gain{};
  uint2 offset{};
  if (has_norm && threadIdx.x < quads) {
    gain = __ldg(gains + threadIdx.x);
    if (offsets != nullptr) offset = __ldg(offsets + threadIdx.x);
  }
  float sum = 0.0f;
  float squares = 0.0f;
#pragma unroll 1
  for (unsigned at = threadIdx.x; at < quads; at += together) {
    const uint2 raw = receive(step.from, product.in, at, number);
    float x[quad];
    unpack_quad<T>(raw, x);
    put_quad(shared, at, x);
    sum += (x[0] + x[1]) + (x[2] + x[3]);
    squares = fmaf(x[0], x[0], fmaf(x[1], x[1], fmaf(x[2], x[2], fmaf(x[3], x[3], squares))));
  }
  if (has_norm) {
    const unsigned warp = threadIdx.x / 32;
    const unsigned lane = threadIdx.x % 32;
    const float inverse = 1.0f / static_cast<float>(product.inner);
    // Of this warp's elements the mean and the squared distances from it, from which those of all come without loss.
    float mean = 0.0f;
    if (product.norm == 1) {
      const unsigned own = min(quads - min(32 * warp, quads), 32u);
      const unsigned more = (quads - min(threadIdx.x, quads) + together - 1) / together;
      const float count = static_cast<float>(quad * own * max(more, 1u));
      mean = own == 0 ? 0.0f : sum_of_warp(sum) / count;
      squares = 0.0f;
#pragma unroll 1
      for (unsigned at = threadIdx.x; at < quads; at += together) {
        float x[quad];
        get_quad(shared, at, x);
#pragma unroll
        for (unsigned k = 0; k < quad; ++k) squares = fmaf(x[k] - mean, x[k] - mean, squares);
      }
      if (lane == 0) shared.counts[warp] = own == 0 ? 0.0f : count;
    }
    squares = sum_of_warp(squares);
    if (lane == 0) {
      shared.means[warp] = mean;
      shared.squares[warp] = squares;
    }
    synchronize();
    const bool is_one = lane < warps;
    float total = is_one ? shared.squares[lane] : 0.0f;
    float centre = 0.0f;
    if (product.norm == 1) {
      const float own_count = is_one ? shared.counts[lane] : 0.0f;
      const float own_mean = is_one ? shared.means[lane] : 0.0f;
      centre = sum_of_warp(own_count * own_mean) * inverse;
      total = fmaf(own_count * (own_mean - centre), own_mean - centre, total);
    }
    const float variance = fmaf(sum_of_warp(total), inverse, product.epsilon);
    const float factor = variance == 0.0f ? 0.0f : rsqrtf(variance);
#pragma unroll 1
    for (unsigned at = threadIdx.x; at < quads; at += together) {
      if (at != threadIdx.x) {
        gain = __ldg(gains + at);
        if (offsets != nullptr) offset = __ldg(offsets + at);
      }
      float x[quad];
      float g[quad];
      float o[quad];
      get_quad(shared, at, x);
      unpack_quad<T>(gain, g);
      unpack_quad<T>(offset, o);
#pragma unroll
      for (unsigned k = 0; k < quad; ++k) x[k] = fmaf((x[k] - centre) * factor, g[k] + product.weight_offset, o[k]);
      put_quad(shared, at, x);
    }
  }
  synchronize();
}

// A warp has one part of every row that it multiplies.
template <typename T>
__device__ __forceinline__ void run_product(const ChainStep& step, unsigned number, Shared& shared, unsigned& used) {
  const unsigned share_count = share_of(step).count;
  if (share_count == 0) return;
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const unsigned row_spans = step.product.inner / span;
  const unsigned parts = step.parts;
  // warp / parts.
  const unsigned first_row = warp * step.inverse_parts >> 16;
  const unsigned part = warp - first_row * parts;
  const unsigned first_span = part * 32 * step.spans + lane;
  const unsigned end = min((part + 1) * 32 * step.spans, row_spans);
  const unsigned tile_rows = step.tile_rows;
  const unsigned rows_at_once = step.rows_at_once;
  const auto wait_for_tile = [&] {
    wait_for(&shared.tile_full[used % tiles], used / tiles % 2);
    if (used >= 2) wait_for(&shared.partial_free[used % 2], (used / 2 + 1) % 2);
  };
  wait_for_tile();
  load_input<T>(step, number, shared);
#pragma unroll 1
  for (unsigned row = 0; row < share_count; row += tile_rows) {
    const unsigned rows = min(tile_rows, share_count - row);
    const unsigned slot = used % tiles;
    float* const partial = shared.partial[used % 2];
    if (row > 0) wait_for_tile();
#pragma unroll 1
    for (unsigned own = first_row; own < rows; own += 2 * rows_at_once) {
      // Two rows at once; past the tile's last row that row once more, whose sum is not used.
      const unsigned other = own + rows_at_once;
      const uint4* const weights = reinterpret_cast<const uint4*>(shared.tile[slot]);
      const uint4* const first = weights + own * row_spans;
      const uint4* const second = weights + min(other, rows - 1) * row_spans;
      float sums[2][2] = {};
#pragma unroll 1
      for (unsigned at = first_span; at < end; at += 32) {
        float x[span];
        float w[2][span];
        unpack<T>(first[at], w[0]);
        unpack<T>(second[at], w[1]);
        get_span(shared, at, x);
#pragma unroll
        for (unsigned k = 0; k < span; ++k) {
          sums[0][k % 2] = fmaf(x[k], w[0][k], sums[0][k % 2]);
          sums[1][k % 2] = fmaf(x[k], w[1][k], sums[1][k % 2]);
        }
      }
      // Both sums in one pass over the lanes: those from 16 on have the second one's.
      const float one = sums[0][0] + sums[0][1];
      const float two = sums[1][0] + sums[1][1];
      const bool is_upper = lane >= 16;
      float sum = (is_upper ? two : one) + __shfl_xor_sync(0xffffffffu, is_upper ? one : two, 16);
#pragma unroll
      for (unsigned mask = 8; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
      const unsigned its_row = is_upper ? other : own;
      if (lane % 16 == 0 && its_row < rows) partial[its_row * parts + part] = sum;
    }
    __syncwarp();
    if (lane == 0) {
      arrive(&shared.partial_full[used % 2]);
      arrive(&shared.tile_free[slot]);
    }
    ++used;
  }
}

// One warp makes results of the sums of the others and sends them.
template <typename T>
__device__ __forceinline__ void finish_product(const ChainStep& step, unsigned number, Shared& shared, unsigned& used) {
  const ChainProduct& product = step.product;
  const Share share = share_of(step);
  const unsigned lane = threadIdx.x % 32;
  const unsigned parts = step.parts;
  const bool accumulates = product.accumulate != 0;
  const T* const all_bias = static_cast<const T*>(product.bias);
  const unsigned activation = product.activation;
  std::uint64_t* const to = step.to;
  const unsigned tile_rows = step.tile_rows;
#pragma unroll 1
  for (unsigned row = 0; row < share.count; row += tile_rows) {
    const unsigned rows = min(tile_rows, share.count - row);
    T* const out = static_cast<T*>(product.out) + share.begin + row;
    float bias = 0.0f;
    float before = 0.0f;
    if (lane < rows) {
      if (all_bias != nullptr) bias = to_float(all_bias[share.begin + row + lane]);
      // This warp wrote it, if a step did.
      if (accumulates) before = load_one<T>(out + lane);
    }
    const float* const partial = shared.partial[used % 2];
    wait_for(&shared.partial_full[used % 2], used / 2 % 2);
    float sum = bias;
#pragma unroll 1
    for (unsigned each = 0; lane < rows && each < parts; ++each) sum += partial[lane * parts + each];
    const float result = activate(activation, sum);
    const T element = from_float<T>(accumulates ? before + result : result);
    const unsigned bits = bits_of(element);
    const unsigned next = __shfl_down_sync(0xffffffffu, bits, 1);
    if (lane < rows && lane % 2 == 0 && to != nullptr) {
      send(to + (share.begin + row + lane) / 2, bits | next << 16, number);
    }
    if (lane < rows) out[lane] = element;
    __syncwarp();
    if (lane == 0) arrive(&shared.partial_free[used % 2]);
    ++used;
  }
}

// Lanes that share a position, and positions of a warp at a time.
constexpr unsigned position_lanes = 8;
constexpr unsigned beside = 32 / position_lanes;
constexpr unsigned each = block_positions / beside;
constexpr float absent_score = -3.402823466e38f;
constexpr float lowest_score = 0.25f * absent_score;

// What a lane has read of a block of the cache.
struct CacheRead {
  uint4 keys[each];
  uint4 values[each];
};

// A warp's share of the cache, along which it goes by blocks.
struct CacheWalk {
  const unsigned char* keys;  // at the lane's columns of the head
  const unsigned char* values;
  const std::int32_t* table;
  unsigned blocks;
  unsigned row_bytes;
  unsigned end;
};

// Reads the block that begins at `position`, or another one where there is none: what comes of it does not count.
__device__ __forceinline__ void read_cache(const CacheWalk& walk, unsigned position, unsigned lane, CacheRead& read) {
  const unsigned last = walk.end - 1;
  const auto block = min(static_cast<unsigned>(walk.table[min(position, last) / block_positions]), walk.blocks - 1);
#pragma unroll
  for (unsigned j = 0; j < each; ++j) {
    const unsigned own = min(position + j * beside + lane / position_lanes, last) % block_positions;
    const std::size_t at = std::size_t(block * block_positions + own) * walk.row_bytes;
    read.keys[j] = load_shared_by_all(walk.keys + at);
    read.values[j] = load_shared_by_all(walk.values + at);
  }
}

// Whether the cache has the position's block.
__device__ __forceinline__ bool has_block(const CacheWalk& walk, unsigned position) {
  return position < walk.end && static_cast<unsigned>(walk.table[position / block_positions]) < walk.blocks;
}

// The weighted sum so far.
struct Sums {
  float largest = lowest_score;
  float total = 0.0f;
  float columns[span] = {};
};

__device__ __forceinline__ float score_of(const float* query, const float* key) {
  float score = 0.0f;
#pragma unroll
  for (unsigned k = 0; k < span; ++k) score = fmaf(query[k], key[k], score);
  score += __shfl_xor_sync(0xffffffffu, score, 1);
  score += __shfl_xor_sync(0xffffffffu, score, 2);
  score += __shfl_xor_sync(0xffffffffu, score, 4);
  return score;
}

template <typename T>
__device__ __forceinline__ void attend(Sums& sums, const CacheRead& read, const float* query, unsigned position,
                                       unsigned end, float scale, unsigned lane) {
  float scores[each];
  float next = sums.largest;
#pragma unroll
  for (unsigned j = 0; j < each; ++j) {
    float key[span];
    unpack<T>(read.keys[j], key);
    const float score = score_of(query, key) * scale;
    scores[j] = position + j * beside + lane / position_lanes < end ? score : absent_score;
    next = fmaxf(next, scores[j]);
  }
  const float shrink = expf(sums.largest - next);
  sums.largest = next;
  sums.total *= shrink;
#pragma unroll
  for (unsigned k = 0; k < span; ++k) sums.columns[k] *= shrink;
#pragma unroll
  for (unsigned j = 0; j < each; ++j) {
    const float weight = expf(scores[j] - next);
    sums.total += weight;
    float value[span];
    unpack<T>(read.values[j], value);
#pragma unroll
    for (unsigned k = 0; k < span; ++k) sums.columns[k] = fmaf(weight, value[k], sums.columns[k]);
  }
}

// Asks for the rows that a warp reads first.
template <typename T>
__device__ __forceinline__ void ask_for_cache(const ChainAttention& attention, const void* keys, const void* values,
                                              unsigned head) {
  const unsigned warp = threadIdx.x / 32;
  const unsigned lane = threadIdx.x % 32;
  const int first = attention.first != nullptr ? *attention.first : 0;
  const unsigned end = first < 0 ? 0 : min(static_cast<unsigned>(first), attention.positions);
  const std::size_t width = std::size_t(attention.kv_heads) * chain_head_size;
  for (unsigned position = warp * block_positions + lane % block_positions; position < end;
       position += warps * block_positions) {
    const int block = attention.table[position / block_positions];
    if (block < 0 || static_cast<unsigned>(block) >= attention.blocks) continue;
    const std::size_t at = (std::size_t(block) * block_positions + position % block_positions) * width +
                           std::size_t(head / (attention.heads / attention.kv_heads)) * chain_head_size;
    ask_line_ahead(static_cast<const T*>(lane < block_positions ? keys : values) + at);
  }
}

// One head by the threadgroup.
template <typename T>
__device__ __forceinline__ void run_head(const ChainStep& step, unsigned number, unsigned head, Shared& shared) {
  const ChainAttention& attention = step.attention;
  const unsigned warp = threadIdx.x / 32;
  const unsigned lane = threadIdx.x % 32;
  const unsigned part = lane % position_lanes;
  const unsigned kv_head = head / (attention.heads / attention.kv_heads);
  const int first = attention.first != nullptr ? *attention.first : 0;
  const bool has_own = first >= 0 && static_cast<unsigned>(first) < attention.positions;
  const unsigned end = first < 0 ? 0 : min(static_cast<unsigned>(first), attention.positions);
  // The cache's older rows come while the step before ends.
  constexpr unsigned ahead = 1;
  constexpr unsigned together = warps * block_positions;
  const std::size_t columns = (std::size_t(kv_head) * chain_head_size + part * span) * 2;
  const CacheWalk walk = {static_cast<const unsigned char*>(attention.keys) + columns,
                          static_cast<const unsigned char*>(attention.values) + columns,
                          attention.table,
                          attention.blocks,
                          attention.kv_heads * chain_head_size * 2,
                          end};
  CacheRead reads[ahead];
  if (end > 0) {
#pragma unroll
    for (unsigned i = 0; i < ahead; ++i) read_cache(walk, warp * block_positions + i * together, lane, reads[i]);
  }
  const int own_block = has_own ? attention.table[first / block_positions] : -1;
  const std::size_t query_at = std::size_t(head) * chain_head_size;
  const std::size_t key_at = std::size_t(attention.heads + kv_head) * chain_head_size;
  const std::size_t value_at = key_at + std::size_t(attention.kv_heads) * chain_head_size;
  const auto receive_span = [&](std::size_t begin) {
    const auto at = static_cast<unsigned>(begin / quad + 2 * part);
    const uint2 low = receive(step.from, attention.qkv, at, number);
    const uint2 high = receive(step.from, attention.qkv, at + 1, number);
    return uint4{low.x, low.y, high.x, high.y};
  };
  float query[span];
  unpack<T>(receive_span(query_at), query);
  uint4 raw_key{};
  uint4 raw_value{};
  const bool is_own = warp == warps - 1 && own_block >= 0 && static_cast<unsigned>(own_block) < attention.blocks;
  if (is_own) {
    raw_key = receive_span(key_at);
    raw_value = receive_span(value_at);
  }
  Sums sums;
#pragma unroll 1
  for (unsigned position = warp * block_positions; position < end; position += ahead * together) {
#pragma unroll
    for (unsigned i = 0; i < ahead; ++i) {
      const unsigned at = position + i * together;
      if (has_block(walk, at)) attend<T>(sums, reads[i], query, at, end, attention.scale, lane);
      if (at + ahead * together < end) read_cache(walk, at + ahead * together, lane, reads[i]);
    }
  }
  if (is_own) {
    if (head % (attention.heads / attention.kv_heads) == 0 && lane < position_lanes) {
      const std::size_t at =
          (std::size_t(own_block) * block_positions + first % block_positions) * attention.kv_heads * chain_head_size +
          std::size_t(kv_head) * chain_head_size + part * span;
      *reinterpret_cast<uint4*>(static_cast<T*>(attention.keys) + at) = raw_key;
      *reinterpret_cast<uint4*>(static_cast<T*>(attention.values) + at) = raw_value;
    }
    float key[span];
    float value[span];
    unpack<T>(raw_key, key);
    unpack<T>(raw_value, value);
    // Of the lanes that had other positions, those of one count it.
    const float own = score_of(query, key) * attention.scale;
    const float score = lane < position_lanes ? own : absent_score;
    const float next = fmaxf(sums.largest, score);
    const float shrink = expf(sums.largest - next);
    const float weight = expf(score - next);
    sums.largest = next;
    sums.total = sums.total * shrink + weight;
#pragma unroll
    for (unsigned k = 0; k < span; ++k) sums.columns[k] = fmaf(weight, value[k], sums.columns[k] * shrink);
  }
#pragma unroll 1
  for (unsigned mask = position_lanes; mask < 32; mask *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, sums.largest, mask);
    const float next = fmaxf(sums.largest, other);
    const float own_factor = expf(sums.largest - next);
    const float other_factor = expf(other - next);
    sums.largest = next;
    sums.total = sums.total * own_factor + __shfl_xor_sync(0xffffffffu, sums.total, mask) * other_factor;
#pragma unroll
    for (unsigned k = 0; k < span; ++k) {
      sums.columns[k] =
          sums.columns[k] * own_factor + __shfl_xor_sync(0xffffffffu, sums.columns[k], mask) * other_factor;
    }
  }
  float* const joined = shared.joined[warp];
  if (lane < position_lanes) {
#pragma unroll
    for (unsigned k = 0; k < span; ++k) joined[part * span + k] = sums.columns[k];
  }
  if (lane == 0) {
    joined[chain_head_size] = sums.largest;
    joined[chain_head_size + 1] = sums.total;
  }
  synchronize();
  if (threadIdx.x < chain_head_size) {
    // A lane has a warp's largest score and total, and what they become beside the others'.
    const float own_largest = lane < warps ? shared.joined[lane][chain_head_size] : lowest_score;
    const float own_total = lane < warps ? shared.joined[lane][chain_head_size + 1] : 0.0f;
    float largest = own_largest;
#pragma unroll
    for (unsigned mask = 8; mask > 0; mask /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, mask));
    const float factor = lane < warps ? expf(own_largest - largest) : 0.0f;
    float total = own_total * factor;
#pragma unroll
    for (unsigned mask = 8; mask > 0; mask /= 2) total += __shfl_xor_sync(0xffffffffu, total, mask);
    total = __shfl_sync(0xffffffffu, total, 0);
    float sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < warps; ++i) {
      sum = fmaf(shared.joined[i][threadIdx.x], __shfl_sync(0xffffffffu, factor, i), sum);
    }
    const T element = from_float<T>(total == 0.0f ? 0.0f : sum / total);
    const unsigned bits = bits_of(element);
    const unsigned next = __shfl_down_sync(0xffffffffu, bits, 1);
    if (lane % 2 == 0 && step.to != nullptr)
      send(step.to + (head * chain_head_size + threadIdx.x) / 2, bits | next << 16, number);
    static_cast<T*>(attention.out)[head * chain_head_size + threadIdx.x] = element;
  }
  synchronize();
}

template <typename T>
__device__ __forceinline__ void run_attention(const ChainStep& step, unsigned number, Shared& shared) {
  const ChainAttention& attention = step.attention;
  if (blockIdx.x % step.stride != 0) return;
  const unsigned place = blockIdx.x / step.stride;
  for (unsigned head = place; head < attention.heads; head += gridDim.x) run_head<T>(step, number, head, shared);
  if (step.next_keys != nullptr && place < attention.heads)
    ask_for_cache<T>(attention, step.next_keys, step.next_values, place);
}

template <typename T>
__global__ void __launch_bounds__(threads, 1) decode_chain(const __grid_constant__ Chain chain) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  // The first word counts launches, the second the threadgroups that are through.
  const unsigned number = *static_cast<volatile unsigned*>(chain.state) + 1;
  if (threadIdx.x == 0) {
    for (Barrier& each : shared.tile_full) initialize(&each, 1);
    for (Barrier& each : shared.tile_free) initialize(&each, warps);
    for (Barrier& each : shared.order_full) initialize(&each, 1);
    for (Barrier& each : shared.order_free) initialize(&each, warps + 1);
    for (Barrier& each : shared.partial_full) initialize(&each, warps);
    for (Barrier& each : shared.partial_free) initialize(&each, 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x / 32 == copying_warp) {
    if (threadIdx.x % 32 == 0) copy_ahead(chain, shared);
  } else if (threadIdx.x / 32 == finishing_warp) {
    unsigned used = 0;
    for (unsigned i = 0; i < chain.count; ++i) {
      wait_for(&shared.order_full[i % orders], i / orders % 2);
      const ChainStep& step = shared.order[i % orders];
      if (step.kind == ChainStep::Kind::product) finish_product<T>(step, number, shared, used);
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.order_free[i % orders]);
    }
  } else {
    unsigned used = 0;
    for (unsigned i = 0; i < chain.count; ++i) {
      wait_for(&shared.order_full[i % orders], i / orders % 2);
      const ChainStep& step = shared.order[i % orders];
      if (step.kind == ChainStep::Kind::attention) {
        run_attention<T>(step, number, shared);
      } else {
        run_product<T>(step, number, shared, used);
      }
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.order_free[i % orders]);
    }
  }
  // The last threadgroup begins the next launch's number, since all others have read this one's.
  __syncthreads();
  if (threadIdx.x == 0 && atomicAdd(chain.state + 1, 1) + 1 == gridDim.x) {
    chain.state[1] = 0;
    chain.state[0] = number;
  }
#endif
}

int multiprocessors() {
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) == cudaSuccess ? count : 0;
}

// Words of a step's result.
std::size_t words_of(const ChainStep& step) {
  return (step.kind == ChainStep::Kind::product ? step.product.outputs : step.attention.heads * chain_head_size) / 2;
}

// Bytes before the results, which begin at lines of their own.
constexpr std::size_t state_head = 256;

std::size_t in_lines(std::size_t bytes) {
  return (bytes + 127) / 128 * 128;
}

// Chooses parts of rows that keep the warps busy for the shortest time.
void divide_rows(ChainStep& step, unsigned groups) {
  const ChainProduct& product = step.product;
  const unsigned pairs = product.outputs / 2;
  step.pairs = pairs / groups;
  step.more = pairs % groups;
  step.tile_rows = std::min(tile_bytes / (product.inner * 2), most_tile_rows);
  const unsigned spans = product.inner / span;
  const unsigned rows = std::min(step.tile_rows, 2 * ((pairs + groups - 1) / groups));
  unsigned least = ~0u;
  for (const unsigned parts : {1, 2, 3, 4, 6, 12}) {
    const unsigned lane_spans = (spans + 32 * parts - 1) / (32 * parts);
    const unsigned rounds = (rows * parts + warps - 1) / warps;
    if (rounds * lane_spans >= least) continue;
    step.parts = parts;
    step.spans = lane_spans;
    step.inverse_parts = 65536 / parts + 1;
    step.rows_at_once = warps / parts;
    least = rounds * lane_spans;
  }
}

const void* kernel_of(DType dtype) {
  return dtype == DType::bf16 ? reinterpret_cast<const void*>(&decode_chain<__nv_bfloat16>)
                              : reinterpret_cast<const void*>(&decode_chain<__half>);
}

}  // namespace

bool runs_chains() {
  int device = 0;
  int major = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return false;
  return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
}

cudaError_t prepare_chains() {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel_of(dtype), cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

std::size_t Chain::state_bytes() const {
  std::size_t bytes = state_head;
  for (std::size_t i = 0; i < count; ++i) bytes += in_lines(8 * words_of(steps[i]));
  return bytes;
}

void Chain::plan() {
  const auto groups = static_cast<unsigned>(multiprocessors());
  std::size_t at = state_head;
  ChainStep* attention = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    ChainStep& step = steps[i];
    step.from = i == 0 ? nullptr : steps[i - 1].to;
    step.to = i + 1 == count ? nullptr : reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(state) + at);
    at += in_lines(8 * words_of(step));
    if (step.kind == ChainStep::Kind::product) {
      divide_rows(step, groups);
      continue;
    }
    // Heads lie far apart, so that their threadgroups are on different parts of the chip.
    step.stride = std::max(groups / step.attention.heads, 1u);
    if (attention != nullptr) {
      attention->next_keys = step.attention.keys;
      attention->next_values = step.attention.values;
    }
    attention = &step;
  }
}

cudaError_t launch_chain(const Chain& chain, DType dtype, cudaStream_t stream) {
  const auto groups = static_cast<unsigned>(multiprocessors());
  cudaLaunchAttribute together{};
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = groups;
  config.blockDim = threads;
  config.dynamicSmemBytes = sizeof(Shared);
  config.stream = stream;
  config.attrs = &together;
  config.numAttrs = 1;
  std::array<void*, 1> arguments = {const_cast<Chain*>(&chain)};
  return cudaLaunchKernelExC(&config, kernel_of(dtype), arguments.data());
}

}  // namespace mslt::msl::cuda
