// Reading a tensor whose element type is only known at run time.
#pragma once

#include "lib/span.h"

// The values of AnyFloat's type, as the host numbers them.
constant constexpr uint any_f32 = 0;
constant constexpr uint any_bf16 = 1;

// Element `index` of a tensor of type any_f32, any_bf16 or, for any other number, f16.
inline float load_any(device const uchar* data, uint type, ulong index) {
  if (type == any_f32) {
    return ((device const float*)data)[index];
  }
  if (type == any_bf16) {
    return float(((device const bfloat*)data)[index]);
  }
  return float(((device const half*)data)[index]);
}

// Elements [index, index + 8), which start at a multiple of 16 bytes.
inline void load_any_span(device const uchar* data, uint type, ulong index, thread float* values) {
  if (type == any_f32) {
    load_aligned((device const float*)data + index, values);
  } else if (type == any_bf16) {
    load_aligned((device const bfloat*)data + index, values);
  } else {
    load_aligned((device const half*)data + index, values);
  }
}
