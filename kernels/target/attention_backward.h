// Where a target has its own design of backward attention: here none.
#pragma once

#include "lib/attention_tile.h"

// As attention_forward_tile, for the gradient of queries.
template <typename T, uint depth, uint parts>
inline bool attention_query_tile(device T* /*dqkv*/, device const T* /*dout*/, device const T* /*qkv*/,
                                 device const float* /*log_sum_exp*/, device const float* /*products*/,
                                 device const uint* /*random_state*/, constant AttentionArgs& /*args*/, uint /*group*/,
                                 uint /*position*/) {
  return false;
}

// The same for the gradients of keys and values.
template <typename T, uint depth, uint parts>
inline bool attention_key_tile(device T* /*dqkv*/, device const T* /*dout*/, device const T* /*qkv*/,
                               device const float* /*log_sum_exp*/, device const float* /*products*/,
                               device const uint* /*random_state*/, constant AttentionArgs& /*args*/, uint /*group*/,
                               uint /*position*/) {
  return false;
}
