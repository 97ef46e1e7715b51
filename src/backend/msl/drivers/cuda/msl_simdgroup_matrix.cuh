// MSL's 8×8 matrices spread over the lanes of a simdgroup, in CUDA C++.
//
// Lane l holds two neighbours of a row: with q = l / 4, row (q & 4) + (l / 2) % 4, columns (q & 2) · 2 + (l % 2) · 2
// and the next. Products of floats are sums of fused products in the order of the left matrix's columns; those of two
// bfloat or two half matrices into float go to the tensor cores, which add the eight exact products of a sum and the
// old sum with one rounding or few. All other types are multiplied as floats.
#pragma once

#include "backend/msl/drivers/cuda/msl_simd.cuh"
#include "backend/msl/drivers/cuda/msl_types.cuh"

namespace metal {

namespace matrix_detail {

MSLT_BOTH constexpr uint row_of(uint lane) {
  return ((lane / 4) & 4u) + lane / 2 % 4;
}
MSLT_BOTH constexpr uint column_of(uint lane) {
  return ((lane / 4) & 2u) * 2 + lane % 2 * 2;
}
// The lane that holds (row, column) and its neighbour in the same pair of columns.
MSLT_BOTH constexpr uint lane_of(uint row, uint column) {
  return ((row & 4u) << 2) | ((column & 4u) << 1) | ((row & 3u) << 1) | ((column & 2u) >> 1);
}

}  // namespace matrix_detail

template <class T, int rows, int columns>
struct simdgroup_matrix {
  static_assert(rows == 8 && columns == 8, "simdgroup matrices are 8×8");
  T elements[2];

  simdgroup_matrix() = default;
  __device__ __forceinline__ explicit simdgroup_matrix(T diagonal) {
    const uint lane = simd_detail::lane_index();
    for (uint i = 0; i < 2; ++i) {
      elements[i] = matrix_detail::row_of(lane) == matrix_detail::column_of(lane) + i ? diagonal : T(0.0f);
    }
  }
  MSLT_BOTH T (&thread_elements())[2] { return elements; }
  MSLT_BOTH const T (&thread_elements() const)[2] { return elements; }
};
using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;
using simdgroup_half8x8 = simdgroup_matrix<half, 8, 8>;
using simdgroup_bfloat8x8 = simdgroup_matrix<bfloat, 8, 8>;

namespace matrix_detail {

// d += a · b of floats: for each column k of a, its element of the lane's row and the two of b's row k in the lane's
// columns travel by shuffles.
__device__ __forceinline__ void multiply_floats(float (&d)[2], const float (&a)[2], const float (&b)[2]) {
  const uint lane = simd_detail::lane_index();
  const uint row = row_of(lane);
  const uint column = column_of(lane);
#pragma unroll
  for (uint k = 0; k < 8; ++k) {
    const float left = __shfl_sync(simd_detail::all_lanes, a[k % 2], lane_of(row, k));
    const uint source = lane_of(k, column);
    d[0] = ::fmaf(left, __shfl_sync(simd_detail::all_lanes, b[0], source), d[0]);
    d[1] = ::fmaf(left, __shfl_sync(simd_detail::all_lanes, b[1], source), d[1]);
  }
}

template <class T>
__device__ __forceinline__ void tensor_core_product(float (&d)[4], uint a, uint b) {
  static_assert(is_same_v<T, bfloat> || is_same_v<T, half>);
  // Rows 8 to 15 of the left operand are zeros.
  if constexpr (is_same_v<T, bfloat>) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a), "r"(0u), "r"(b));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a), "r"(0u), "r"(b));
  }
}

// d += a · b of 16-bit elements. The tensor core's fragments have row l / 4 and columns 2 · (l % 4) and the next of a
// and d, and the transpose of that of b; elements travel there and back.
template <class T>
__device__ __forceinline__ void multiply_sixteen_bits(float (&d)[2], const T (&a)[2], const T (&b)[2]) {
  const uint lane = simd_detail::lane_index();
  const uint group = lane / 4;
  const uint pair = lane % 4 * 2;
  const uint source = lane_of(group, pair);
  const uint a_word = a[0].bits | (uint{a[1].bits} << 16);
  const uint b_word = b[0].bits | (uint{b[1].bits} << 16);
  const uint a_there = __shfl_sync(simd_detail::all_lanes, a_word, source);
  const uint b_upper = __shfl_sync(simd_detail::all_lanes, b_word, lane_of(pair, group));
  const uint b_lower = __shfl_sync(simd_detail::all_lanes, b_word, lane_of(pair + 1, group));
  const uint b_there = __byte_perm(b_upper, b_lower, group % 2 == 0 ? 0x5410u : 0x7632u);
  float sums[4] = {__shfl_sync(simd_detail::all_lanes, d[0], source), __shfl_sync(simd_detail::all_lanes, d[1], source),
                   0.0f, 0.0f};
  tensor_core_product<T>(sums, a_there, b_there);
  // The tensor core's lane with this lane's row and columns.
  const uint back = row_of(lane) * 4 + column_of(lane) / 2;
  d[0] = __shfl_sync(simd_detail::all_lanes, sums[0], back);
  d[1] = __shfl_sync(simd_detail::all_lanes, sums[1], back);
}

// Where the calling lane's elements [0] and [1] lie from `memory` on.
struct Places {
  ulong first;
  ulong second;
};
__device__ __forceinline__ Places places(ulong elements_per_row, ulong2 origin, bool transpose) {
  const uint lane = simd_detail::lane_index();
  const ulong row = row_of(lane);
  const ulong column = column_of(lane);
  const ulong corner = origin.y * elements_per_row + origin.x;
  if (transpose) {
    return {corner + column * elements_per_row + row, corner + (column + 1) * elements_per_row + row};
  }
  return {corner + row * elements_per_row + column, corner + row * elements_per_row + column + 1};
}

}  // namespace matrix_detail

template <class T, int rows, int columns>
__device__ __forceinline__ simdgroup_matrix<T, rows, columns> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, rows, columns> matrix;
  matrix.elements[0] = value;
  matrix.elements[1] = value;
  return matrix;
}

template <class T>
__device__ __forceinline__ void simdgroup_load(simdgroup_matrix<T, 8, 8>& d, const T* source,
                                               ulong elements_per_row = 8, ulong2 origin = ulong2(0),
                                               bool transpose = false) {
  const matrix_detail::Places from = matrix_detail::places(elements_per_row, origin, transpose);
  d.elements[0] = source[from.first];
  d.elements[1] = source[from.second];
}

template <class T>
__device__ __forceinline__ void simdgroup_store(const simdgroup_matrix<T, 8, 8>& a, T* destination,
                                                ulong elements_per_row = 8, ulong2 origin = ulong2(0),
                                                bool transpose = false) {
  const matrix_detail::Places to = matrix_detail::places(elements_per_row, origin, transpose);
  destination[to.first] = a.elements[0];
  destination[to.second] = a.elements[1];
}

template <class D, class A, class B, class C>
__device__ __forceinline__ void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d,
                                                              const simdgroup_matrix<A, 8, 8>& a,
                                                              const simdgroup_matrix<B, 8, 8>& b,
                                                              const simdgroup_matrix<C, 8, 8>& c) {
  float sums[2] = {float(c.elements[0]), float(c.elements[1])};
  if constexpr (is_same_v<A, B> && (is_same_v<A, bfloat> || is_same_v<A, half>)) {
    matrix_detail::multiply_sixteen_bits<A>(sums, a.elements, b.elements);
  } else {
    const float left[2] = {float(a.elements[0]), float(a.elements[1])};
    const float right[2] = {float(b.elements[0]), float(b.elements[1])};
    matrix_detail::multiply_floats(sums, left, right);
  }
  d.elements[0] = D(sums[0]);
  d.elements[1] = D(sums[1]);
}

template <class D, class A, class B>
__device__ __forceinline__ void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                                                   const simdgroup_matrix<B, 8, 8>& b) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<float, 8, 8>(0.0f));
}

}  // namespace metal
