// Of the kernel of chains: the embedding before its products and the largest result after them.
#pragma once

#include "backend/msl/drivers/cuda/chain_memory.cuh"

namespace mslt::msl::cuda {
namespace {

// By the warp that writes the products' results, which may be added to these.
template <typename T>
__device__ __forceinline__ void run_embedding(const ChainStep& step, unsigned number, int place) {
  const ChainEmbedding& embedding = step.embedding;
  const Share share = share_of(step);
  const int token = *embedding.token;
  const bool has_place =
      embedding.position_weight == nullptr || (place >= 0 && static_cast<unsigned>(place) < embedding.places);
  const bool is_valid = token >= 0 && static_cast<unsigned>(token) < embedding.vocab && has_place;
  const std::size_t row_words = embedding.columns / 2;
  const auto* const tokens = static_cast<const unsigned*>(embedding.token_weight) + row_words * max(token, 0);
  const auto* const positions = static_cast<const unsigned*>(embedding.position_weight) + row_words * max(place, 0);
  for (unsigned word = share.begin / 2 + threadIdx.x % 32; word < (share.begin + share.count) / 2; word += 32) {
    float2 x = {0.0f, 0.0f};
    if (is_valid) {
      const float2 offset = embedding.position_weight != nullptr ? pair_of<T>(positions[word]) : float2{0.0f, 0.0f};
      x = pair_of<T>(tokens[word]);
      x = {fmaf(x.x, embedding.scale, offset.x), fmaf(x.y, embedding.scale, offset.y)};
    }
    const unsigned elements = bits_of(from_float<T>(x.x)) | bits_of(from_float<T>(x.y)) << 16;
    if (step.to != nullptr) send(step.to + word, elements, number);
    static_cast<unsigned*>(embedding.out)[word] = elements;
  }
}

// A result with its index, so that the larger of two leads as in kernels/lib/candidate.h: NaN comes last, and of equals
// the smaller index first.
using Candidate = unsigned long long;

__device__ __forceinline__ Candidate candidate_of(float x, unsigned index) {
  const unsigned bits = __float_as_uint(x);
  const unsigned size = bits & 0x7fffffffu;
  // -0 equals 0.
  const unsigned rank = size > 0x7f800000u ? 0u : (bits >> 31) != 0 && size != 0 ? ~bits : size | 0x80000000u;
  return Candidate(rank) << 32 | ~index;
}

// Where the best of all threadgroups is found.
__device__ __forceinline__ Candidate* best_of_all(const Chain& chain) {
  return reinterpret_cast<Candidate*>(chain.state + 2);
}

// Of a warp whose lanes have these.
__device__ __forceinline__ void propose(const Chain& chain, Candidate best) {
#pragma unroll
  for (unsigned mask = 16; mask > 0; mask /= 2) best = max(best, __shfl_xor_sync(0xffffffffu, best, mask));
  if (threadIdx.x % 32 == 0 && best != 0) atomicMax(best_of_all(chain), best);
}

// By one thread, once all threadgroups have proposed.
template <typename T>
__device__ __forceinline__ void put_largest(const Chain& chain) {
  __threadfence();
  const unsigned index = ~static_cast<unsigned>(atomicExch(best_of_all(chain), 0ull));
  *chain.largest.index = static_cast<std::int32_t>(index);
  *chain.largest.value = load_one<T>(static_cast<const T*>(chain.steps[chain.count - 1].product.out) + index);
}

}  // namespace
}  // namespace mslt::msl::cuda
