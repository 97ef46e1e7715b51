// The argument struct of attention.metal and attention_backward.metal, shared with the host.
#pragma once

#include <stdint.h>

struct AttentionArgs {
  uint32_t batch;
  uint32_t steps;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_size;
  uint32_t columns;      // of a row of qkv
  uint32_t out_columns;  // of a row of out
  uint32_t aligned;      // rows of a head are whole spans at multiples of 16 bytes in all tensors
  uint32_t blocks;       // blocks of rows per sequence: eight each, or a tile of the target's own
  uint32_t causal;
  uint32_t window;  // keys that a query sees at most, if causal; beyond all positions where there is no window
  uint32_t has_statistics;
  uint32_t dropout_operation;
  float dropout_probability;
  float dropout_scale;
  float scale;    // of the scores
  float softcap;  // of the scaled scores; 0 for none
};
