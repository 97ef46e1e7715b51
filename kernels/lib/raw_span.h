// Spans as they lie in memory, so that a thread can ask for several before it works on the first.
#pragma once

#include "lib/span.h"

// Eight neighbouring elements, unconverted.
template <typename T>
struct RawSpan {
  uint words[sizeof(T) * 2];
};

// The span at `data`, which is aligned to 16 bytes.
template <typename T>
inline void fetch_aligned(device const T* data, thread RawSpan<T>& span) {
#pragma unroll
  for (uint k = 0; k < sizeof(T) / 2; ++k) {
    const uint4 words = ((device const uint4*)data)[k];
    span.words[4 * k] = words.x;
    span.words[4 * k + 1] = words.y;
    span.words[4 * k + 2] = words.z;
    span.words[4 * k + 3] = words.w;
  }
}

template <typename T>
inline void clear_raw(thread RawSpan<T>& span) {
#pragma unroll
  for (uint k = 0; k < sizeof(T) * 2; ++k) {
    span.words[k] = 0;
  }
}

// Element `k` of a span becomes data[at].
inline void put_element(thread RawSpan<float>& span, uint k, device const float* data, ulong at) {
  span.words[k] = as_type<uint>(data[at]);
}

template <typename T>
inline void put_element(thread RawSpan<T>& span, uint k, device const T* data, ulong at) {
  span.words[k / 2] |= uint(as_type<ushort>(data[at])) << (16 * (k & 1u));
}

// Elements [first, first + 8) of `data`, one by one; zeros from `end` on.
template <typename T>
inline void fetch_each(device const T* data, ulong first, ulong end, thread RawSpan<T>& span) {
  clear_raw(span);
  for (uint k = 0; k < span_width; ++k) {
    if (first + k < end) {
      put_element(span, k, data, first + k);
    }
  }
}

// The same by 16-byte accesses where `aligned` is not 0: data + first then lies at a multiple of 16 bytes.
template <typename T>
inline void fetch_span(device const T* data, ulong first, ulong end, uint aligned, thread RawSpan<T>& span) {
  if (aligned != 0 && first + span_width <= end) {
    fetch_aligned(data + first, span);
  } else {
    fetch_each(data, first, end, span);
  }
}

inline void unpack_raw(thread const RawSpan<float>& span, thread float* values) {
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = as_type<float>(span.words[k]);
  }
}

template <typename T>
inline void unpack_raw(thread const RawSpan<T>& span, thread float* values) {
#pragma unroll
  for (uint k = 0; k < span_width / 2; ++k) {
    unpack_pair<T>(span.words[k], values + 2 * k);
  }
}

// Fetching and storing where it is known when compiled whether spans are whole and aligned.
template <bool whole, typename T>
inline void fetch_known(device const T* data, ulong first, ulong end, thread RawSpan<T>& span) {
  if (whole) {
    fetch_aligned(data + first, span);
  } else {
    fetch_each(data, first, end, span);
  }
}

template <bool whole, typename T>
inline void store_known(device T* data, ulong first, ulong end, thread const float* values) {
  if (whole) {
    store_aligned(data + first, values);
  } else {
    store_span(data, first, end, 0u, values);
  }
}
