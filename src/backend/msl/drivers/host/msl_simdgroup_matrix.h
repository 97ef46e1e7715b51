// MSL's 8×8 matrices, distributed over the lanes of a simdgroup, on the host.
//
// Lane l holds two neighbours of a row: with q = l / 4, row (q & 4) + (l / 2) % 4, columns (q & 2) · 2 + (l % 2) · 2
// and the next. Each lane loads and stores by itself; products are meetings.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>

#include "backend/msl/drivers/host/msl_simd.h"
#include "backend/msl/drivers/host/msl_types.h"

namespace metal {

template <class T, int rows, int columns>
struct simdgroup_matrix {
  static_assert(rows == 8 && columns == 8, "simdgroup matrices are 8×8");
  T elements[2];

  simdgroup_matrix() = default;
  explicit simdgroup_matrix(T diagonal);
  T (&thread_elements())[2] { return elements; }
  const T (&thread_elements() const)[2] { return elements; }
};
using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;
using simdgroup_half8x8 = simdgroup_matrix<half, 8, 8>;
using simdgroup_bfloat8x8 = simdgroup_matrix<bfloat, 8, 8>;

namespace matrix_detail {

inline constexpr std::uint32_t size = 8;

constexpr std::uint32_t row_of(std::uint32_t lane) {
  return (lane / 4 & 4) + lane / 2 % 4;
}
constexpr std::uint32_t column_of(std::uint32_t lane) {
  return (lane / 4 & 2) * 2 + lane % 2 * 2;
}

template <class D, class A, class B, class C>
struct Product {
  simdgroup_matrix<D, 8, 8>* d;
  const simdgroup_matrix<A, 8, 8>* a;
  const simdgroup_matrix<B, 8, 8>* b;
  const simdgroup_matrix<C, 8, 8>* c;  // null for zeros
};

using Square = std::array<std::array<float, size>, size>;

// d = a · b + c, each sum in the order of a's columns.
template <class D, class A, class B, class C>
void multiply(void* const* slots, std::uint32_t lanes) {
  Square a{};
  Square b{};
  Square d{};
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    const auto& own = simd_detail::slot<Product<D, A, B, C>>(slots, lane);
    const std::uint32_t row = row_of(lane);
    const std::uint32_t column = column_of(lane);
    for (std::uint32_t i = 0; i < 2; ++i) {
      a[row][column + i] = float(own.a->elements[i]);
      b[row][column + i] = float(own.b->elements[i]);
      d[row][column + i] = own.c == nullptr ? 0.0f : float(own.c->elements[i]);
    }
  }
  for (std::uint32_t i = 0; i < size; ++i) {
    for (std::uint32_t k = 0; k < size; ++k) {
      for (std::uint32_t j = 0; j < size; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    const auto& own = simd_detail::slot<Product<D, A, B, C>>(slots, lane);
    for (std::uint32_t i = 0; i < 2; ++i) own.d->elements[i] = D(d[row_of(lane)][column_of(lane) + i]);
  }
}

// The address of the calling lane's elements [0] and [1].
template <class T>
std::array<T*, 2> addresses(T* memory, ulong elements_per_row, ulong2 origin, bool transpose) {
  const std::uint32_t lane = mslt::msl::host::lane_index();
  const ulong row = row_of(lane);
  const ulong column = column_of(lane);
  T* corner = memory + origin.y * elements_per_row + origin.x;
  if (transpose) return {corner + column * elements_per_row + row, corner + (column + 1) * elements_per_row + row};
  return {corner + row * elements_per_row + column, corner + row * elements_per_row + column + 1};
}

}  // namespace matrix_detail

template <class T, int rows, int columns>
simdgroup_matrix<T, rows, columns>::simdgroup_matrix(T diagonal) {
  const std::uint32_t lane = mslt::msl::host::lane_index();
  for (std::uint32_t i = 0; i < 2; ++i) {
    elements[i] = matrix_detail::row_of(lane) == matrix_detail::column_of(lane) + i ? diagonal : T(0.0f);
  }
}

template <class T, int rows, int columns>
simdgroup_matrix<T, rows, columns> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, rows, columns> matrix;
  matrix.elements[0] = value;
  matrix.elements[1] = value;
  return matrix;
}

template <class T>
void simdgroup_load(simdgroup_matrix<T, 8, 8>& d, const T* source, ulong elements_per_row = 8,
                    ulong2 origin = ulong2(0), bool transpose = false) {
  const auto from = matrix_detail::addresses(source, elements_per_row, origin, transpose);
  d.elements[0] = *from[0];
  d.elements[1] = *from[1];
}

template <class T>
void simdgroup_store(const simdgroup_matrix<T, 8, 8>& a, T* destination, ulong elements_per_row = 8,
                     ulong2 origin = ulong2(0), bool transpose = false) {
  const auto to = matrix_detail::addresses(destination, elements_per_row, origin, transpose);
  *to[0] = a.elements[0];
  *to[1] = a.elements[1];
}

template <class D, class A, class B>
void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                        const simdgroup_matrix<B, 8, 8>& b,
                        const std::source_location& where = std::source_location::current()) {
  matrix_detail::Product<D, A, B, D> own{&d, &a, &b, nullptr};
  mslt::msl::host::meet_simdgroup("simdgroup_multiply", where, &own, &matrix_detail::multiply<D, A, B, D>);
}

template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                                   const simdgroup_matrix<B, 8, 8>& b, const simdgroup_matrix<C, 8, 8>& c,
                                   const std::source_location& where = std::source_location::current()) {
  matrix_detail::Product<D, A, B, C> own{&d, &a, &b, &c};
  mslt::msl::host::meet_simdgroup("simdgroup_multiply_accumulate", where, &own, &matrix_detail::multiply<D, A, B, C>);
}

}  // namespace metal
