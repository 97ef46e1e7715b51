// MSL's scalar and vector types on the host: same sizes, same alignments, undefined unless initialised.
#pragma once

#include <bit>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "backend/msl/drivers/host/rendezvous.h"
#include "tensor/half.h"

namespace metal {

using std::int16_t;
using std::int32_t;
using std::int64_t;
using std::int8_t;
using std::is_same;
using std::is_same_v;
using std::numeric_limits;
using std::size_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;
using uchar = std::uint8_t;
using ushort = std::uint16_t;
using uint = std::uint32_t;
using ulong = std::uint64_t;

inline constexpr float M_PI_F = 3.14159265358979323846f;
inline constexpr float M_PI_2_F = 1.57079632679489661923f;
inline constexpr float M_1_PI_F = 0.31830988618379067154f;
inline constexpr float M_2_PI_F = 0.63661977236758134308f;
inline constexpr float M_E_F = 2.71828182845904523536f;
inline constexpr float M_LOG2E_F = 1.44269504088896340736f;
inline constexpr float M_LN2_F = 0.69314718055994530942f;
inline constexpr float M_SQRT2_F = 1.41421356237309504880f;

// Storage with conversions; arithmetic happens in float. Rounds to nearest even.
struct half {
  std::uint16_t bits;

  half() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  half(T value) : bits(mslt::to_float16(static_cast<float>(value)).bits) {}
  // Subnormal halves are ordinary numbers, even if float flushes subnormals.
  operator float() const {
    const std::uint32_t magnitude = bits & 0x7fffu;
    if (magnitude >= 0x400u) return mslt::to_float(mslt::Float16{bits});
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return (bits & 0x8000u) != 0 ? -value : value;
  }
};

struct bfloat {
  std::uint16_t bits;

  bfloat() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  explicit bfloat(T value) : bits(rounded(static_cast<float>(value))) {}
  operator float() const { return mslt::to_float(mslt::BFloat16{bits}); }

 private:
  // With flushing, the comparison treats a subnormal number as zero: then the conversion flushes, too.
  static std::uint16_t rounded(float value) {
    if (value == 0.0f) return std::signbit(value) ? 0x8000u : 0u;
    return mslt::to_bfloat16(value).bits;
  }
};

template <class T>
inline constexpr bool is_scalar = std::is_arithmetic_v<T> || std::is_same_v<T, half> || std::is_same_v<T, bfloat>;

template <class T, int n>
struct vec;

template <class T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;

  vec() = default;
  vec(T value) : x(value), y(value) {}
  vec(T x_value, T y_value) : x(x_value), y(y_value) {}
  template <class U>
  explicit vec(const vec<U, 2>& other) : x(T(other.x)), y(T(other.y)) {}

  T& operator[](std::int64_t i) {
    switch (i) {
      case 0:
        return x;
      case 1:
        return y;
      default:
        mslt::msl::host::kernel_mistake("uses a vector's component", i, 1);
    }
  }
  const T& operator[](std::int64_t i) const { return const_cast<vec&>(*this)[i]; }
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z;

  vec() = default;
  vec(T value) : x(value), y(value), z(value) {}
  vec(T x_value, T y_value, T z_value) : x(x_value), y(y_value), z(z_value) {}
  vec(const vec<T, 2>& xy, T z_value) : x(xy.x), y(xy.y), z(z_value) {}
  template <class U>
  explicit vec(const vec<U, 3>& other) : x(T(other.x)), y(T(other.y)), z(T(other.z)) {}

  T& operator[](std::int64_t i) {
    switch (i) {
      case 0:
        return x;
      case 1:
        return y;
      case 2:
        return z;
      default:
        mslt::msl::host::kernel_mistake("uses a vector's component", i, 2);
    }
  }
  const T& operator[](std::int64_t i) const { return const_cast<vec&>(*this)[i]; }
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w;

  vec() = default;
  vec(T value) : x(value), y(value), z(value), w(value) {}
  vec(T x_value, T y_value, T z_value, T w_value) : x(x_value), y(y_value), z(z_value), w(w_value) {}
  vec(const vec<T, 2>& xy, const vec<T, 2>& zw) : x(xy.x), y(xy.y), z(zw.x), w(zw.y) {}
  vec(const vec<T, 3>& xyz, T w_value) : x(xyz.x), y(xyz.y), z(xyz.z), w(w_value) {}
  template <class U>
  explicit vec(const vec<U, 4>& other) : x(T(other.x)), y(T(other.y)), z(T(other.z)), w(T(other.w)) {}

  T& operator[](std::int64_t i) {
    switch (i) {
      case 0:
        return x;
      case 1:
        return y;
      case 2:
        return z;
      case 3:
        return w;
      default:
        mslt::msl::host::kernel_mistake("uses a vector's component", i, 3);
    }
  }
  const T& operator[](std::int64_t i) const { return const_cast<vec&>(*this)[i]; }
};

// Applies f to each component of one or two vectors.
template <class T, class F>
auto each(const vec<T, 2>& a, F f) {
  return vec<decltype(f(a.x)), 2>(f(a.x), f(a.y));
}
template <class T, class F>
auto each(const vec<T, 3>& a, F f) {
  return vec<decltype(f(a.x)), 3>(f(a.x), f(a.y), f(a.z));
}
template <class T, class F>
auto each(const vec<T, 4>& a, F f) {
  return vec<decltype(f(a.x)), 4>(f(a.x), f(a.y), f(a.z), f(a.w));
}
template <class T, class U, class F>
auto each(const vec<T, 2>& a, const vec<U, 2>& b, F f) {
  return vec<decltype(f(a.x, b.x)), 2>(f(a.x, b.x), f(a.y, b.y));
}
template <class T, class U, class F>
auto each(const vec<T, 3>& a, const vec<U, 3>& b, F f) {
  return vec<decltype(f(a.x, b.x)), 3>(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z));
}
template <class T, class U, class F>
auto each(const vec<T, 4>& a, const vec<U, 4>& b, F f) {
  return vec<decltype(f(a.x, b.x)), 4>(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w));
}

// A scalar operand next to a vector of T, converted as in MSL.
template <class T>
using beside = std::type_identity_t<T>;

#define MSLT_VECTOR_OPERATOR(op)                                  \
  template <class T, int n>                                       \
  vec<T, n> operator op(const vec<T, n>& a, const vec<T, n>& b) { \
    return each(a, b, [](T x, T y) { return T(x op y); });        \
  }                                                               \
  template <class T, int n>                                       \
  vec<T, n> operator op(const vec<T, n>& a, beside<T> b) {        \
    return each(a, [b](T x) { return T(x op b); });               \
  }                                                               \
  template <class T, int n>                                       \
  vec<T, n> operator op(beside<T> a, const vec<T, n>& b) {        \
    return each(b, [a](T y) { return T(a op y); });               \
  }                                                               \
  template <class T, int n>                                       \
  vec<T, n>& operator op##=(vec<T, n>& a, const vec<T, n>& b) {   \
    return a = a op b;                                            \
  }                                                               \
  template <class T, int n>                                       \
  vec<T, n>& operator op##=(vec<T, n>& a, beside<T> b) {          \
    return a = a op b;                                            \
  }
MSLT_VECTOR_OPERATOR(+)
MSLT_VECTOR_OPERATOR(-)
MSLT_VECTOR_OPERATOR(*)
MSLT_VECTOR_OPERATOR(/)
MSLT_VECTOR_OPERATOR(%)
MSLT_VECTOR_OPERATOR(&)
MSLT_VECTOR_OPERATOR(|)
MSLT_VECTOR_OPERATOR(^)
MSLT_VECTOR_OPERATOR(<<)
MSLT_VECTOR_OPERATOR(>>)
#undef MSLT_VECTOR_OPERATOR

#define MSLT_VECTOR_COMPARISON(op)                                   \
  template <class T, int n>                                          \
  vec<bool, n> operator op(const vec<T, n>& a, const vec<T, n>& b) { \
    return each(a, b, [](T x, T y) { return x op y; });              \
  }                                                                  \
  template <class T, int n>                                          \
  vec<bool, n> operator op(const vec<T, n>& a, beside<T> b) {        \
    return each(a, [b](T x) { return x op b; });                     \
  }
MSLT_VECTOR_COMPARISON(==)
MSLT_VECTOR_COMPARISON(!=)
MSLT_VECTOR_COMPARISON(<)
MSLT_VECTOR_COMPARISON(<=)
MSLT_VECTOR_COMPARISON(>)
MSLT_VECTOR_COMPARISON(>=)
#undef MSLT_VECTOR_COMPARISON

template <class T, int n>
vec<T, n> operator-(const vec<T, n>& a) {
  return each(a, [](T x) { return T(-x); });
}
template <class T, int n>
vec<T, n> operator~(const vec<T, n>& a) {
  return each(a, [](T x) { return T(~x); });
}
template <int n>
vec<bool, n> operator!(const vec<bool, n>& a) {
  return each(a, [](bool x) { return !x; });
}

// n scalars without a vector's alignment.
template <class T, int n>
struct packed_vec;
template <class T>
struct packed_vec<T, 2> {
  T x, y;
  packed_vec() = default;
  packed_vec(const vec<T, 2>& v) : x(v.x), y(v.y) {}
  operator vec<T, 2>() const { return {x, y}; }
};
template <class T>
struct packed_vec<T, 3> {
  T x, y, z;
  packed_vec() = default;
  packed_vec(const vec<T, 3>& v) : x(v.x), y(v.y), z(v.z) {}
  operator vec<T, 3>() const { return {x, y, z}; }
};
template <class T>
struct packed_vec<T, 4> {
  T x, y, z, w;
  packed_vec() = default;
  packed_vec(const vec<T, 4>& v) : x(v.x), y(v.y), z(v.z), w(v.w) {}
  operator vec<T, 4>() const { return {x, y, z, w}; }
};

#define MSLT_VECTORS(scalar)                        \
  using scalar##2 = vec<scalar, 2>;                 \
  using scalar##3 = vec<scalar, 3>;                 \
  using scalar##4 = vec<scalar, 4>;                 \
  using packed_##scalar##2 = packed_vec<scalar, 2>; \
  using packed_##scalar##3 = packed_vec<scalar, 3>; \
  using packed_##scalar##4 = packed_vec<scalar, 4>;
MSLT_VECTORS(bool)
MSLT_VECTORS(char)
MSLT_VECTORS(uchar)
MSLT_VECTORS(short)
MSLT_VECTORS(ushort)
MSLT_VECTORS(int)
MSLT_VECTORS(uint)
MSLT_VECTORS(long)
MSLT_VECTORS(ulong)
MSLT_VECTORS(half)
MSLT_VECTORS(bfloat)
MSLT_VECTORS(float)
#undef MSLT_VECTORS

template <class To, class From>
To as_type(const From& from) {
  return std::bit_cast<To>(from);
}

}  // namespace metal
