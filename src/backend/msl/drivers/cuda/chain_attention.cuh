// Of the kernel of chains: attention over the cache.
#pragma once

#include "backend/msl/drivers/cuda/chain_memory.cuh"

namespace mslt::msl::cuda {
namespace {

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
  const int* table;
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

// Rescales them to a largest score that is no smaller.
__device__ __forceinline__ void raise(Sums& sums, float largest) {
  const float shrink = expf(sums.largest - largest);
  sums.largest = largest;
  sums.total *= shrink;
#pragma unroll
  for (unsigned k = 0; k < span; ++k) sums.columns[k] *= shrink;
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
  raise(sums, next);
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

// Positions before the row's own.
__device__ __forceinline__ unsigned older_positions(const Shared& shared, unsigned positions) {
  return shared.position < 0 ? 0 : min(static_cast<unsigned>(shared.position), positions);
}

// Asks for what the next attention reads of the cache, which no step before it writes: one warp for the threadgroup.
template <typename T>
__device__ __forceinline__ void ask_for_next_cache(const ChainStep& step, unsigned positions, const Shared& shared) {
  const ChainAttention& attention = step.attention;
  const unsigned head = blockIdx.x / step.stride;
  if (step.next_keys == nullptr || blockIdx.x % step.stride != 0 || head >= attention.heads) return;
  const unsigned end = older_positions(shared, positions);
  const std::size_t width = std::size_t(attention.kv_heads) * chain_head_size;
  const unsigned column = head / (attention.heads / attention.kv_heads) * chain_head_size;
#pragma unroll 1
  for (unsigned position = threadIdx.x % 32; position < end; position += 32) {
    const auto block = static_cast<unsigned>(shared.table[position / block_positions]);
    if (block >= attention.blocks) continue;
    const std::size_t at = (std::size_t(block) * block_positions + position % block_positions) * width + column;
    ask_line_ahead(static_cast<const T*>(step.next_keys) + at);
    ask_line_ahead(static_cast<const T*>(step.next_values) + at);
  }
}

// One head by the threadgroup.
template <typename T>
__device__ __forceinline__ void run_head(const ChainStep& step, unsigned number, unsigned positions, unsigned head,
                                         Shared& shared) {
  const ChainAttention& attention = step.attention;
  const unsigned warp = threadIdx.x / 32;
  const unsigned lane = threadIdx.x % 32;
  const unsigned part = lane % position_lanes;
  const unsigned kv_head = head / (attention.heads / attention.kv_heads);
  const int first = shared.position;
  const bool has_own = first >= 0 && static_cast<unsigned>(first) < positions;
  const unsigned end = older_positions(shared, positions);
  // The cache's older rows come while the step before ends.
  constexpr unsigned ahead = 1;
  constexpr unsigned together = warps * block_positions;
  const std::size_t columns = (std::size_t(kv_head) * chain_head_size + part * span) * 2;
  const CacheWalk walk = {static_cast<const unsigned char*>(attention.keys) + columns,
                          static_cast<const unsigned char*>(attention.values) + columns,
                          shared.table,
                          attention.blocks,
                          attention.kv_heads * chain_head_size * 2,
                          end};
  CacheRead reads[ahead];
  if (end > 0) {
#pragma unroll
    for (unsigned i = 0; i < ahead; ++i) read_cache(walk, warp * block_positions + i * together, lane, reads[i]);
  }
  const int own_block = has_own ? shared.table[first / block_positions] : -1;
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
    raise(sums, fmaxf(sums.largest, score));
    const float weight = expf(score - sums.largest);
    sums.total += weight;
#pragma unroll
    for (unsigned k = 0; k < span; ++k) sums.columns[k] = fmaf(weight, value[k], sums.columns[k]);
  }
  // Of the lanes that had other positions.
  float largest = fmaxf(sums.largest, __shfl_xor_sync(0xffffffffu, sums.largest, 8));
  largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 16));
  raise(sums, largest);
#pragma unroll
  for (unsigned mask = position_lanes; mask < 32; mask *= 2) {
    sums.total += __shfl_xor_sync(0xffffffffu, sums.total, mask);
#pragma unroll
    for (unsigned k = 0; k < span; ++k) sums.columns[k] += __shfl_xor_sync(0xffffffffu, sums.columns[k], mask);
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
    float of_all = own_largest;
#pragma unroll
    for (unsigned mask = 8; mask > 0; mask /= 2) of_all = fmaxf(of_all, __shfl_xor_sync(0xffffffffu, of_all, mask));
    const float shrink = lane < warps ? expf(own_largest - of_all) : 0.0f;
    float total = own_total * shrink;
#pragma unroll
    for (unsigned mask = 8; mask > 0; mask /= 2) total += __shfl_xor_sync(0xffffffffu, total, mask);
    total = __shfl_sync(0xffffffffu, total, 0);
    const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
    float sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < warps; ++i) {
      sum = fmaf(shared.joined[i][threadIdx.x], __shfl_sync(0xffffffffu, shrink, i), sum);
    }
    const T element = from_float<T>(sum * inverse);
    const unsigned bits = bits_of(element);
    const unsigned next = __shfl_down_sync(0xffffffffu, bits, 1);
    if (lane % 2 == 0 && step.to != nullptr)
      send(step.to + (head * chain_head_size + threadIdx.x) / 2, bits | next << 16, number);
    static_cast<T*>(attention.out)[head * chain_head_size + threadIdx.x] = element;
  }
  synchronize();
}

template <typename T>
__device__ __forceinline__ void run_attention(const ChainStep& step, unsigned number, unsigned positions,
                                              Shared& shared) {
  const ChainAttention& attention = step.attention;
  if (blockIdx.x % step.stride != 0) return;
  const unsigned place = blockIdx.x / step.stride;
  for (unsigned head = place; head < attention.heads; head += gridDim.x) {
    run_head<T>(step, number, positions, head, shared);
  }
}

}  // namespace
}  // namespace mslt::msl::cuda
