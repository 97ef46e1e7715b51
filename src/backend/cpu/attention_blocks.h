// How the CPU backend splits attention into blocks, and the description of a block for its kernels.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mslt {

// Keys whose scores are held at once, a multiple of every target's panel width.
inline constexpr std::int64_t key_block = 64;
// Queries whose scores are held at once.
inline constexpr std::int64_t query_tile = 32;
// Queries that share one packing of the keys: a thread's unit of work in the forward pass.
inline constexpr std::int64_t query_block = 256;

// The keys of a block that a query sees: [first, last) of its own `count` keys, empty if first >= last.
struct SeenKeys {
  std::int64_t first;
  std::int64_t last;
  bool none() const { return first >= last; }
};

// Which keys the query at a position sees.
struct Visibility {
  bool causal;
  std::int64_t window;  // 0 for none

  // Of the `count` keys from `begin` on.
  SeenKeys seen(std::int64_t position, std::int64_t begin, std::int64_t count) const {
    if (!causal) return {0, count};
    return {std::max<std::int64_t>(0, first_key(position) - begin),
            std::clamp<std::int64_t>(position + 1 - begin, 0, count)};
  }
  // The first key that the query sees.
  std::int64_t first_key(std::int64_t position) const {
    return window > 0 ? std::max<std::int64_t>(0, position + 1 - window) : 0;
  }
  // Behind the last query of `length` that sees this key.
  std::int64_t queries_end(std::int64_t key, std::int64_t length) const {
    return window > 0 ? std::min(length, key + window) : length;
  }
};

// Up to query_block rows of one head; or one row of several heads that share keys and values.
struct QueryBlock {
  const float* queries;  // [rows, head_size], query_stride apart
  float* out;            // [rows, head_size], out_stride apart
  float* log_sum_exp;    // [rows] or null
  std::int64_t query_stride;
  std::int64_t out_stride;
  std::int64_t rows;
  std::int64_t position;  // of row 0 among the keys
  bool one_position;      // whether all rows are at it; else each is one behind the other
  std::int64_t keys;      // number of keys
  std::int64_t head_size;
  float scale;
  float softcap;
  Visibility visibility;
};

}  // namespace mslt
