// Fragments: 8×8 matrices spread over a simdgroup, moved to and from device memory with every bound tested.
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

// The 8×8 block at (row, column) of a matrix [rows, columns] with `stride` elements between its rows; zeros outside.
template <typename S, typename T>
inline void load_fragment(thread simdgroup_matrix<S, 8, 8>& piece, device const T* data, ulong stride, uint row,
                          uint column, uint rows, uint columns, uint lane) {
  const uint r = row + fragment_row(lane);
  const uint c = column + fragment_column(lane);
  const ulong at = ulong(r) * stride + c;
  piece.thread_elements()[0] = S(r < rows && c < columns ? float(data[at]) : 0.0f);
  piece.thread_elements()[1] = S(r < rows && c + 1 < columns ? float(data[at + 1]) : 0.0f);
}

// The transpose of that block.
template <typename S, typename T>
inline void load_transposed(thread simdgroup_matrix<S, 8, 8>& piece, device const T* data, ulong stride, uint row,
                            uint column, uint rows, uint columns, uint lane) {
  const uint r = row + fragment_column(lane);
  const uint c = column + fragment_row(lane);
  const ulong at = ulong(r) * stride + c;
  piece.thread_elements()[0] = S(r < rows && c < columns ? float(data[at]) : 0.0f);
  piece.thread_elements()[1] = S(r + 1 < rows && c < columns ? float(data[at + stride]) : 0.0f);
}

// Writes factor · piece where it lies inside the matrix.
template <typename T>
inline void store_fragment(thread simdgroup_float8x8& piece, float factor, device T* data, ulong stride, uint row,
                           uint column, uint rows, uint columns, uint lane) {
  const uint r = row + fragment_row(lane);
  const uint c = column + fragment_column(lane);
  const ulong at = ulong(r) * stride + c;
  if (r < rows && c < columns) {
    data[at] = T(piece.thread_elements()[0] * factor);
  }
  if (r < rows && c + 1 < columns) {
    data[at + 1] = T(piece.thread_elements()[1] * factor);
  }
}

template <uint count>
inline void clear_fragments(thread simdgroup_float8x8* fragments) {
#pragma unroll
  for (uint i = 0; i < count; ++i) {
    fragments[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
}
