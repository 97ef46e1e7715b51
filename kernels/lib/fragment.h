// Fragments: 8×8 matrices distributed over a simdgroup, two elements per lane.
#pragma once

// Rows and columns of a fragment.
constant constexpr uint fragment_width = 8;

// The row of a lane's two elements, and the column of the first; the second is to its right.
inline uint fragment_row(uint lane) {
  return ((lane / 4) & 4u) + (lane / 2) % 4;
}

inline uint fragment_column(uint lane) {
  return ((lane / 4) & 2u) * 2 + (lane % 2) * 2;
}

// The sum and the maximum of the values in a lane's row of fragments, in all lanes of that row.
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
