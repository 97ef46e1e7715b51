// The argument struct of attention_decode.metal, shared with the host.
#pragma once

#include <stdint.h>

struct AttentionDecodeArgs {
  uint32_t rows;  // B · T
  uint32_t steps;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_size;
  uint32_t columns;    // of a row of qkv
  uint32_t blocks;     // of the cache
  uint32_t positions;  // capacity of a sequence's blocks
  uint32_t splits;
  uint32_t split_positions;  // positions per split
  uint32_t aligned;          // parts of heads are whole spans at multiples of 16 bytes
  uint32_t has_first;
  uint32_t window;   // positions that a query sees at most
  float scale;       // of the scores
  float softcap;     // of the scaled scores; 0 for none
  uint32_t appends;  // the row's own key and value are not in the cache yet: stores them
  uint32_t rotates;  // with appends: rotates queries and keys before
};
