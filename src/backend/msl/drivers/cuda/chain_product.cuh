// Of the kernel of chains: products, with the norm before them and what follows them.
#pragma once

#include "backend/msl/drivers/cuda/chain_ends.cuh"
#include "backend/msl/drivers/cuda/chain_memory.cuh"

namespace mslt::msl::cuda {
namespace {

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

// What lanes or warps have of a norm's input: the mean, which is 0 for RMSNorm, and the sum of squared distances from
// it.
using Moments = float2;

// Of a quad that is joined to `before` earlier ones.
__device__ __forceinline__ Moments join_quad(const float* x, bool has_mean, Moments moments, unsigned before) {
  const float mean = has_mean ? 0.25f * ((x[0] + x[1]) + (x[2] + x[3])) : 0.0f;
  float squares = 0.0f;
#pragma unroll
  for (unsigned k = 0; k < quad; ++k) squares = fmaf(x[k] - mean, x[k] - mean, squares);
  if (before == 0) return {mean, squares};
  const float count = static_cast<float>(before);
  const float share = 1.0f / (count + 1.0f);
  const float distance = mean - moments.x;
  return {fmaf(distance, share, moments.x), moments.y + fmaf(4.0f * count * share, distance * distance, squares)};
}

// Of a warp whose lanes have those of as many quads each. All lanes get the same.
__device__ __forceinline__ Moments join_lanes(Moments moments, unsigned quads) {
  float half_count = 2.0f * static_cast<float>(quads);
#pragma unroll
  for (unsigned mask = 16; mask > 0; mask /= 2) {
    const float mean = __shfl_xor_sync(0xffffffffu, moments.x, mask);
    const float squares = __shfl_xor_sync(0xffffffffu, moments.y, mask);
    const float distance = mean - moments.x;
    moments.x = 0.5f * (moments.x + mean);
    moments.y = fmaf(half_count * distance, distance, moments.y + squares);
    half_count *= 2.0f;
  }
  return moments;
}

// All warps bring a product's input, or its norm, into shared memory. A whole number of warps has quads. Loops are not
// unrolled here and below where that would only make them long: what a step costs is its chain of instructions.
template <typename T>
__device__ __forceinline__ void load_input(const ChainStep& step, unsigned number, Shared& shared) {
  const ChainProduct& product = step.product;
  constexpr unsigned together = 32 * warps;
  const unsigned quads = product.inner / quad;
  const unsigned warp = threadIdx.x / 32;
  const bool has_norm = product.norm != 0;
  const bool has_mean = product.norm == 1;
  const uint2* const gains = static_cast<const uint2*>(product.gain);
  const uint2* const offsets = static_cast<const uint2*>(product.offset);
  uint2 gain{};
  uint2 offset{};
  // The first warps have one quad a lane more than the others.
  const unsigned least = quads / together;
  const unsigned more = quads % together / 32;
  const float inverse = 1.0f / static_cast<float>(product.inner);
  const float least_share = static_cast<float>(128 * least) * inverse;
  const float most_share = static_cast<float>(128 * (least + 1)) * inverse;
  if (has_norm && threadIdx.x < quads) {
    gain = __ldg(gains + threadIdx.x);
    if (offsets != nullptr) offset = __ldg(offsets + threadIdx.x);
  }
  Moments moments = {0.0f, 0.0f};
  unsigned own = 0;
  float first[quad] = {};
#pragma unroll 1
  for (unsigned at = threadIdx.x; at < quads; at += together, ++own) {
    const uint2 raw = receive(step.from, product.in, at, number);
    float x[quad];
    unpack_quad<T>(raw, x);
    if (has_norm) moments = join_quad(x, has_mean, moments, own);
    if (has_norm && own == 0) {
#pragma unroll
      for (unsigned k = 0; k < quad; ++k) first[k] = x[k];
    } else {
      put_quad(shared, at, x);
    }
  }
  if (has_norm) {
    moments = join_lanes(moments, own);
    if (threadIdx.x % 32 == 0) shared.moments[warp] = moments;
    synchronize();
    float centre = 0.0f;
    float squares = 0.0f;
    float spread = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < warps; ++i) {
      centre = fmaf(i < more ? most_share : least_share, shared.moments[i].x, centre);
      squares += shared.moments[i].y;
    }
    if (has_mean) {
#pragma unroll
      for (unsigned i = 0; i < warps; ++i) {
        const float distance = shared.moments[i].x - centre;
        spread = fmaf((i < more ? most_share : least_share) * distance, distance, spread);
      }
    }
    const float variance = fmaf(squares, inverse, spread) + product.epsilon;
    const float factor = variance == 0.0f ? 0.0f : rsqrtf(variance);
#pragma unroll 1
    for (unsigned at = threadIdx.x; at < quads; at += together) {
      if (at != threadIdx.x) {
        gain = __ldg(gains + at);
        if (offsets != nullptr) offset = __ldg(offsets + at);
        get_quad(shared, at, first);
      }
      float g[quad];
      float o[quad];
      unpack_quad<T>(gain, g);
      unpack_quad<T>(offset, o);
#pragma unroll
      for (unsigned k = 0; k < quad; ++k) {
        first[k] = fmaf((first[k] - centre) * factor, g[k] + product.weight_offset, o[k]);
      }
      put_quad(shared, at, first);
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
  // All warps are done with the input before, of which a part of the new one does not depend.
  synchronize();
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

// One warp makes results of the sums of the others and sends them. The best of those before `choices` is added to
// `best`.
template <typename T>
__device__ __forceinline__ void finish_product(const ChainStep& step, unsigned number, Shared& shared, unsigned& used,
                                               unsigned choices, Candidate& best) {
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
    const unsigned index = share.begin + row + lane;
    if (lane < rows && index < choices) best = max(best, candidate_of(to_float(element), index));
    __syncwarp();
    if (lane == 0) arrive(&shared.partial_free[used % 2]);
    ++used;
  }
}

}  // namespace
}  // namespace mslt::msl::cuda
