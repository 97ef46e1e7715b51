// The argument struct of kv_cache.metal, shared with the host.
#pragma once

#include <stdint.h>

struct KvAppendArgs {
  uint32_t rows;  // B · T
  uint32_t steps;
  uint32_t columns;    // of a row of qkv
  uint32_t keys_at;    // first column of the keys; values follow
  uint32_t width;      // columns of keys, and of values
  uint32_t blocks;     // of the cache
  uint32_t positions;  // capacity of a sequence's blocks
  uint32_t block_size;
  uint32_t aligned;  // rows of qkv and cache, and keys_at, are whole spans at multiples of 16 bytes
  uint32_t has_first;
  uint32_t has_counts;
};
