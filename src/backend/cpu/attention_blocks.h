// How the CPU backend splits attention into blocks, and the description of a block for its kernels.
#pragma once

#include <cstdint>

namespace mslt {

// Keys whose scores are held at once, a multiple of every target's panel width.
inline constexpr std::int64_t key_block = 64;
// Queries whose scores are held at once.
inline constexpr std::int64_t query_tile = 32;
// Queries that share one packing of the keys: a thread's unit of work in the forward pass.
inline constexpr std::int64_t query_block = 256;

// Up to query_block rows of one head.
struct QueryBlock {
  const float* queries;  // [rows, head_size], query_stride apart
  float* out;            // [rows, head_size], out_stride apart
  float* log_sum_exp;    // [rows] or null
  std::int64_t query_stride;
  std::int64_t out_stride;
  std::int64_t rows;
  std::int64_t position;  // of row 0 among the keys
  std::int64_t keys;      // number of keys
  std::int64_t head_size;
  float scale;
  bool causal;
};

}  // namespace mslt
