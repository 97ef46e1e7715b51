// A lane's portion of a row of a weight: plain, or quantised in groups of 32 with one scale each, and a minimum for 4
// bits.
#pragma once

#include "lib/raw_span.h"

// Neighbours in a row that share a scale.
constant constexpr uint weight_group = 32;

// Elements of a row that its lanes process together, for every type: `lanes` lanes, `spans` spans of eight each.
constant constexpr uint weight_step = 256;

// 16 bytes of a row; 32 for floats.
template <typename W>
struct WeightChunk {
  static constant constexpr bool has_scale = false;
  static constant constexpr bool has_minimum = false;
  static constant constexpr uint spans = 1;
  static constant constexpr uint lanes = 32;
  Run<W, span_width> raw;
};

template <>
struct WeightChunk<char> {
  static constant constexpr bool has_scale = true;
  static constant constexpr bool has_minimum = false;
  static constant constexpr uint spans = 2;
  static constant constexpr uint lanes = 16;
  uint4 words;
  half scale;
};

// Two weights per byte: in a group's 16 bytes, byte j holds element j in its low and j + 16 in its high half. A scale
// and a minimum lie side by side.
template <>
struct WeightChunk<uchar> {
  static constant constexpr bool has_scale = true;
  static constant constexpr bool has_minimum = true;
  static constant constexpr uint spans = 4;
  static constant constexpr uint lanes = 8;
  uint4 words;
  Run<half, 2> factors;
};

// The chunk that begins with element `at` of a weight whose rows and groups start at multiples of 16 bytes, and the
// factors of a group at one of their size.
template <typename W>
inline void fetch_chunk(device const W* weight, device const half* /*scales*/, ulong at, thread WeightChunk<W>& chunk) {
  fetch_run(weight + at, chunk.raw);
}

inline void fetch_chunk(device const char* weight, device const half* scales, ulong at,
                        thread WeightChunk<char>& chunk) {
  chunk.words = *(device const uint4*)(weight + at);
  chunk.scale = scales[at / weight_group];
}

inline void fetch_chunk(device const uchar* weight, device const half* scales, ulong at,
                        thread WeightChunk<uchar>& chunk) {
  chunk.words = *(device const uint4*)(weight + at / 2);
  fetch_run(scales + at / weight_group * 2, chunk.factors);
}

// 2^(23 - shift) as a float: or-ing in a small number, shifted up by `shift` bits, adds that number.
inline float float_holding(uint shift) {
  return as_type<float>((150u - shift) << 23);
}

// Byte 0 to 3 of a word as a signed number.
inline float signed_byte(uint word, uint byte) {
  const uint shift = 8 * (byte & 1u);
  const uint low = byte < 2 ? word : word >> 16;
  const float base = float_holding(shift);
  // Flipping the sign bit adds 128.
  const uint bits = (low & (255u << shift)) ^ (as_type<uint>(base) | (128u << shift));
  return as_type<float>(bits) - (base + 128.0f);
}

// The half byte starting at bit 0 or 4.
inline float half_byte(uint word, uint byte, uint bit) {
  const uint shift = 8 * (byte & 1u) + bit;
  const uint low = byte < 2 ? word : word >> 16;
  const float base = float_holding(shift);
  return as_type<float>((low & (15u << shift)) | as_type<uint>(base)) - base;
}

// Elements [8 · s, 8 · s + 8) of a chunk, before scale and minimum.
template <typename W>
inline void chunk_span(thread const WeightChunk<W>& chunk, uint /*s*/, thread float* values) {
  unpack_raw(chunk.raw, values);
}

inline void chunk_span(thread const WeightChunk<char>& chunk, uint s, thread float* values) {
  const uint low = s == 0 ? chunk.words.x : chunk.words.z;
  const uint high = s == 0 ? chunk.words.y : chunk.words.w;
#pragma unroll
  for (uint k = 0; k < 4; ++k) {
    values[k] = signed_byte(low, k);
    values[k + 4] = signed_byte(high, k);
  }
}

inline void chunk_span(thread const WeightChunk<uchar>& chunk, uint s, thread float* values) {
  const uint low = (s & 1u) == 0 ? chunk.words.x : chunk.words.z;
  const uint high = (s & 1u) == 0 ? chunk.words.y : chunk.words.w;
#pragma unroll
  for (uint k = 0; k < 4; ++k) {
    values[k] = half_byte(low, k, 4 * (s / 2));
    values[k + 4] = half_byte(high, k, 4 * (s / 2));
  }
}

template <typename W>
inline float chunk_scale(thread const WeightChunk<W>& /*chunk*/) {
  return 1.0f;
}

inline float chunk_scale(thread const WeightChunk<char>& chunk) {
  return float(chunk.scale);
}

inline float chunk_scale(thread const WeightChunk<uchar>& chunk) {
  return float(run_element(chunk.factors, 0));
}

template <typename W>
inline float chunk_minimum(thread const WeightChunk<W>& /*chunk*/) {
  return 0.0f;
}

inline float chunk_minimum(thread const WeightChunk<uchar>& chunk) {
  return float(run_element(chunk.factors, 1));
}

// One element, for any alignment.
template <typename W>
inline float weight_element(device const W* weight, device const half* /*scales*/, ulong at) {
  return float(weight[at]);
}

inline float weight_element(device const char* weight, device const half* scales, ulong at) {
  return float(int(uint(uchar(weight[at])) << 24) >> 24) * float(scales[at / weight_group]);
}

inline float weight_element(device const uchar* weight, device const half* scales, ulong at) {
  const uint place = uint(at % weight_group);
  const ulong byte = at / weight_group * (weight_group / 2) + place % (weight_group / 2);
  const uint bits = (uint(weight[byte]) >> (place < weight_group / 2 ? 0 : 4)) & 15u;
  const ulong pair = at / weight_group * 2;
  return fma(float(bits), float(scales[pair]), float(scales[pair + 1]));
}
