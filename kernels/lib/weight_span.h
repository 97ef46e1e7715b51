// Spans of weights, plain or quantised in groups of 32 with a scale each.
#pragma once

#include "lib/span.h"

// Neighbours in a row that share a scale.
constant constexpr uint weight_group = 32;

// The four bytes of a word as signed numbers times `scale`.
inline void unpack_signed(uint word, float scale, thread float* values) {
  for (uint k = 0; k < 4; ++k) {
    values[k] = float(int(word << (24 - 8 * k)) >> 24) * scale;
  }
}

// Elements [column, column + 8) of row `row` of a weight [rows, inner], zeros past the row's end. Quantised rows are
// whole groups; plain weights have no scales.
template <typename W>
inline void load_weights(device const W* weight, device const half* /*scales*/, ulong row, uint column, uint inner,
                         uint aligned, thread float* values) {
  const ulong begin = row * inner;
  load_span(weight, begin + column, begin + inner, aligned, values);
}

inline void load_weights(device const char* weight, device const half* scales, ulong row, uint column, uint inner,
                         uint aligned, thread float* values) {
  if (column >= inner) {
    for (uint k = 0; k < span_width; ++k) {
      values[k] = 0.0f;
    }
    return;
  }
  const ulong at = row * inner + column;
  const float scale = float(scales[at / weight_group]);
  if (aligned != 0) {
    const uint2 words = *(device const uint2*)(weight + at);
    unpack_signed(words.x, scale, values);
    unpack_signed(words.y, scale, values + 4);
  } else {
    for (uint k = 0; k < span_width; ++k) {
      values[k] = float(int(uint(uchar(weight[at + k])) << 24) >> 24) * scale;
    }
  }
}

// Two weights a byte: of a group's 16 bytes, byte j holds element j in its low and j + 16 in its high half, plus 8.
inline void load_weights(device const uchar* weight, device const half* scales, ulong row, uint column, uint inner,
                         uint aligned, thread float* values) {
  if (column >= inner) {
    for (uint k = 0; k < span_width; ++k) {
      values[k] = 0.0f;
    }
    return;
  }
  const ulong at = row * inner + column;
  const float scale = float(scales[at / weight_group]);
  const uint shift = column % weight_group < weight_group / 2 ? 0 : 4;
  const ulong byte = at / weight_group * (weight_group / 2) + column % (weight_group / 2);
  if (aligned != 0) {
    const uint2 words = *(device const uint2*)(weight + byte);
    for (uint k = 0; k < 4; ++k) {
      values[k] = (float((words.x >> (8 * k + shift)) & 15u) - 8.0f) * scale;
      values[k + 4] = (float((words.y >> (8 * k + shift)) & 15u) - 8.0f) * scale;
    }
  } else {
    for (uint k = 0; k < span_width; ++k) {
      values[k] = (float((uint(weight[byte + k]) >> shift) & 15u) - 8.0f) * scale;
    }
  }
}
