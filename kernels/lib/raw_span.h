// Spans as stored, so a thread can load several before it works on the first.
#pragma once

#include "lib/run.h"
#include "lib/span.h"

// Elements [first, first + 8) of `data`, one by one; zeros from `end` on.
template <typename T>
inline void fetch_each(device const T* data, ulong first, ulong end, thread Run<T, span_width>& span) {
  clear_run(span);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    if (first + k < end) {
      put_in_run(span, k, data[first + k]);
    }
  }
}

// The same by 16-byte accesses if `aligned` is not 0: data + first is then a multiple of 16 bytes.
template <typename T>
inline void fetch_span(device const T* data, ulong first, ulong end, uint aligned, thread Run<T, span_width>& span) {
  if (aligned != 0 && first + span_width <= end) {
    fetch_run(data + first, span);
  } else {
    fetch_each(data, first, end, span);
  }
}

inline void unpack_raw(thread const Run<float, span_width>& span, thread float* values) {
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] = as_type<float>(span.words[k]);
  }
}

template <typename T>
inline void unpack_raw(thread const Run<T, span_width>& span, thread float* values) {
#pragma unroll
  for (uint k = 0; k < span_width / 2; ++k) {
    unpack_pair<T>(span.words[k], values + 2 * k);
  }
}

// Loads and stores that know at compile time whether spans are whole and aligned.
template <bool whole, typename T>
inline void fetch_known(device const T* data, ulong first, ulong end, thread Run<T, span_width>& span) {
  if (whole) {
    fetch_run(data + first, span);
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
