// Where a target has its own design of forward attention: here none.
#pragma once

#include "lib/attention_tile.h"

// Whether the target's own design computed the rows of block `group`, which are as many as the driver says, by all 128
// threads of a threadgroup. Where it has none, the kernel computes eight rows a simdgroup.
template <typename T, uint depth, uint parts>
inline bool attention_forward_tile(device T* /*out*/, device float* /*log_sum_exp*/, device const T* /*qkv*/,
                                   device const uint* /*random_state*/, constant AttentionArgs& /*args*/,
                                   uint /*group*/, uint /*position*/) {
  return false;
}
