// Fragments: 8×8 matrices spread over a simdgroup, two elements a lane.
#pragma once

// Rows and columns of a piece.
constant constexpr uint fragment_width = 8;

// The row of the two elements that a lane holds, and the column of the first; the second stands right of it.
inline uint fragment_row(uint lane) {
  return ((lane / 4) & 4u) + (lane / 2) % 4;
}

inline uint fragment_column(uint lane) {
  return ((lane / 4) & 2u) * 2 + (lane % 2) * 2;
}

// The sum and the largest of the values in a lane's row of fragments, in all lanes of that row.
inline float fragment_row_sum(float value) {
  const float pair = value + simd_shuffle_xor(value, 1);
  return pair + simd_shuffle_xor(pair, 8);
}

inline float fragment_row_max(float value) {
  const float pair = max(value, simd_shuffle_xor(value, 1));
  return max(pair, simd_shuffle_xor(pair, 8));
}

template <uint count>
inline void clear_fragments(thread simdgroup_float8x8* fragments) {
#pragma unroll
  for (uint i = 0; i < count; ++i) {
    fragments[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
}
