// Where a target has its own form of the direct design: here none.
#pragma once

#include "linear_args.h"

// Whether the target's own form computed the results of a threadgroup of so many simdgroups, with the same places as
// direct_place gives. Where it has none, each simdgroup computes its 32×32.
template <typename T, typename W>
inline bool direct_forward_tile(device T* /*out*/, device T* /*pre*/, device const T* /*in*/,
                                device const W* /*weight*/, device const uchar* /*bias*/, constant MatmulArgs& /*args*/,
                                uint /*group*/, uint /*simdgroups*/, uint /*position*/) {
  return false;
}

template <typename T>
inline bool direct_input_tile(device T* /*din*/, device const T* /*dout*/, device const T* /*weight*/,
                              device const T* /*pre*/, constant MatmulArgs& /*args*/, uint /*group*/,
                              uint /*simdgroups*/, uint /*position*/) {
  return false;
}

template <typename T>
inline bool direct_weight_tile(device T* /*dweight*/, device const T* /*dout*/, device const T* /*in*/,
                               constant MatmulArgs& /*args*/, uint /*group*/, uint /*simdgroups*/, uint /*position*/) {
  return false;
}
