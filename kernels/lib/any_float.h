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

// Eight elements as stored.
struct AnySpan {
  uint4 low;
  uint4 high;  // of any_f32
};

// Elements [index, index + 8), which start at a multiple of 16 bytes. Nothing waits for them yet.
inline void fetch_any_span(device const uchar* data, uint type, ulong index, thread AnySpan& span) {
  device const uint4* words = (device const uint4*)(data + index * (type == any_f32 ? 4 : 2));
  span.low = words[0];
  span.high = words[type == any_f32 ? 1 : 0];
}

inline void unpack_any_span(thread const AnySpan& span, uint type, thread float* values) {
  const uint words[span_width] = {span.low.x,  span.low.y,  span.low.z,  span.low.w,
                                  span.high.x, span.high.y, span.high.z, span.high.w};
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    const ushort bits = ushort(words[k / 2] >> (16 * (k % 2)));
    values[k] = type == any_f32    ? as_type<float>(words[k])
                : type == any_bf16 ? float(as_type<bfloat>(bits))
                                   : float(as_type<half>(bits));
  }
}
