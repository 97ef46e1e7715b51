// Spans: eight neighbouring elements of a tensor as floats, by 16-byte accesses if aligned.
#pragma once

// Elements per span. A thread works on one at a time.
constant constexpr uint span_width = 8;

// The two T of a word; the lower half is the one at the lower address.
template <typename T>
inline void unpack_pair(uint word, thread float* values) {
  values[0] = float(as_type<T>(ushort(word & 0xffffu)));
  values[1] = float(as_type<T>(ushort(word >> 16)));
}

template <typename T>
inline uint pack_pair(float low, float high) {
  return uint(as_type<ushort>(T(low))) | (uint(as_type<ushort>(T(high))) << 16);
}

template <typename T>
inline void load_packed(device const T* data, thread float* values) {
  const uint4 words = *(device const uint4*)data;
  unpack_pair<T>(words.x, values);
  unpack_pair<T>(words.y, values + 2);
  unpack_pair<T>(words.z, values + 4);
  unpack_pair<T>(words.w, values + 6);
}

template <typename T>
inline void store_packed(device T* data, thread const float* values) {
  *(device uint4*)data = uint4(pack_pair<T>(values[0], values[1]), pack_pair<T>(values[2], values[3]),
                               pack_pair<T>(values[4], values[5]), pack_pair<T>(values[6], values[7]));
}

// The span at `data`, which is aligned to 16 bytes.
inline void load_aligned(device const float* data, thread float* values) {
  const float4 low = *(device const float4*)data;
  const float4 high = *(device const float4*)(data + 4);
  values[0] = low.x;
  values[1] = low.y;
  values[2] = low.z;
  values[3] = low.w;
  values[4] = high.x;
  values[5] = high.y;
  values[6] = high.z;
  values[7] = high.w;
}

inline void load_aligned(device const half* data, thread float* values) {
  load_packed<half>(data, values);
}

inline void load_aligned(device const bfloat* data, thread float* values) {
  load_packed<bfloat>(data, values);
}

inline void store_aligned(device float* data, thread const float* values) {
  *(device float4*)data = float4(values[0], values[1], values[2], values[3]);
  *(device float4*)(data + 4) = float4(values[4], values[5], values[6], values[7]);
}

inline void store_aligned(device half* data, thread const float* values) {
  store_packed<half>(data, values);
}

inline void store_aligned(device bfloat* data, thread const float* values) {
  store_packed<bfloat>(data, values);
}

// Elements [first, first + 8) of `data`, zeros from `end` on. If `aligned` is not 0, data + first is a multiple of 16
// bytes.
template <typename T>
inline void load_span(device const T* data, ulong first, ulong end, uint aligned, thread float* values) {
  if (aligned != 0 && first + span_width <= end) {
    load_aligned(data + first, values);
  } else {
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] = first + k < end ? float(data[first + k]) : 0.0f;
    }
  }
}

// Writes the elements before `end`.
template <typename T>
inline void store_span(device T* data, ulong first, ulong end, uint aligned, thread const float* values) {
  if (aligned != 0 && first + span_width <= end) {
    store_aligned(data + first, values);
  } else {
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      if (first + k < end) {
        data[first + k] = T(values[k]);
      }
    }
  }
}

// Copies eight elements bit for bit; both addresses are multiples of 16 bytes.
template <typename T>
inline void copy_aligned(device T* to, device const T* from) {
  for (uint k = 0; k < sizeof(T) / 2; ++k) {
    ((device uint4*)to)[k] = ((device const uint4*)from)[k];
  }
}

// Copies the elements before from_end of the span at `from` to the span at `to`.
template <typename T>
inline void copy_span(device T* to, ulong to_first, device const T* from, ulong from_first, ulong from_end,
                      uint aligned) {
  if (aligned != 0 && from_first + span_width <= from_end) {
    copy_aligned(to + to_first, from + from_first);
  } else {
    for (uint k = 0; k < span_width; ++k) {
      if (from_first + k < from_end) {
        to[to_first + k] = from[from_first + k];
      }
    }
  }
}

// Copies the bytes of [first, first + 16) before `end`.
inline void copy_sixteen(device uchar* to, device const uchar* from, ulong first, ulong end, uint aligned) {
  if (aligned != 0 && first + 16 <= end) {
    *(device uint4*)(to + first) = *(device const uint4*)(from + first);
  } else {
    for (ulong i = first; i < min(first + 16, end); ++i) {
      to[i] = from[i];
    }
  }
}

// Writes byte i % 4 of `pattern` to the bytes i of [first, first + 16) before `end`.
inline void fill_sixteen(device uchar* to, ulong first, ulong end, uint aligned, uint pattern) {
  if (aligned != 0 && first + 16 <= end) {
    *(device uint4*)(to + first) = uint4(pattern, pattern, pattern, pattern);
  } else {
    for (ulong i = first; i < min(first + 16, end); ++i) {
      to[i] = uchar(pattern >> (8 * uint(i & 3u)));
    }
  }
}
