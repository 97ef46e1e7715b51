// MSL's mathematical functions on the host, for float, float vectors and integers.
#pragma once

#include <bit>
#include <cmath>
#include <type_traits>

#include "backend/msl/drivers/host/msl_types.h"

namespace metal {

// The library's functions are accurate enough for precise::; fast:: may be as accurate.
#define MSLT_UNARY(name, expression)                             \
  inline float name(float x) {                                   \
    return expression;                                           \
  }                                                              \
  template <int n>                                               \
  vec<float, n> name(const vec<float, n>& v) {                   \
    return each(v, [](float x) -> float { return expression; }); \
  }
#define MSLT_UNARY_ALL                                                  \
  MSLT_UNARY(exp, std::exp(x))                                          \
  MSLT_UNARY(exp2, std::exp2(x))                                        \
  MSLT_UNARY(exp10, std::pow(10.0f, x))                                 \
  MSLT_UNARY(log, std::log(x))                                          \
  MSLT_UNARY(log2, std::log2(x))                                        \
  MSLT_UNARY(log10, std::log10(x))                                      \
  MSLT_UNARY(sqrt, std::sqrt(x))                                        \
  MSLT_UNARY(rsqrt, 1.0f / std::sqrt(x))                                \
  MSLT_UNARY(sin, std::sin(x))                                          \
  MSLT_UNARY(cos, std::cos(x))                                          \
  MSLT_UNARY(tan, std::tan(x))                                          \
  MSLT_UNARY(tanh, std::tanh(x))                                        \
  MSLT_UNARY(sinh, std::sinh(x))                                        \
  MSLT_UNARY(cosh, std::cosh(x))                                        \
  MSLT_UNARY(floor, std::floor(x))                                      \
  MSLT_UNARY(ceil, std::ceil(x))                                        \
  MSLT_UNARY(round, std::round(x))                                      \
  MSLT_UNARY(rint, std::rint(x))                                        \
  MSLT_UNARY(trunc, std::trunc(x))                                      \
  MSLT_UNARY(fabs, std::fabs(x))                                        \
  inline float pow(float x, float y) {                                  \
    return std::pow(x, y);                                              \
  }                                                                     \
  inline float powr(float x, float y) {                                 \
    return std::pow(x, y);                                              \
  }                                                                     \
  template <int n>                                                      \
  vec<float, n> pow(const vec<float, n>& x, const vec<float, n>& y) {   \
    return each(x, y, [](float a, float b) { return std::pow(a, b); }); \
  }
MSLT_UNARY_ALL
namespace precise {
MSLT_UNARY_ALL
}  // namespace precise
namespace fast {
MSLT_UNARY_ALL
}  // namespace fast
#undef MSLT_UNARY_ALL
#undef MSLT_UNARY

inline float fmod(float x, float y) {
  return std::fmod(x, y);
}
inline float atan2(float y, float x) {
  return std::atan2(y, x);
}
inline float ldexp(float x, int k) {
  return std::ldexp(x, k);
}
inline float copysign(float x, float y) {
  return std::copysign(x, y);
}
inline float sincos(float x, float& cosine) {
  cosine = std::cos(x);
  return std::sin(x);
}
inline bool isnan(float x) {
  return std::isnan(x);
}
inline bool isinf(float x) {
  return std::isinf(x);
}
inline bool isfinite(float x) {
  return std::isfinite(x);
}

inline float fma(float a, float b, float c) {
  return std::fma(a, b, c);
}
template <int n>
vec<float, n> fma(const vec<float, n>& a, const vec<float, n>& b, const vec<float, n>& c) {
  vec<float, n> result;
  for (int i = 0; i < n; ++i) result[i] = std::fma(a[i], b[i], c[i]);
  return result;
}

template <int n>
float dot(const vec<float, n>& a, const vec<float, n>& b) {
  float sum = a[0] * b[0];
  for (int i = 1; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Given a NaN and a number, returns the number.
template <class T, class = std::enable_if_t<is_scalar<T>>>
T min(T a, T b) {
  return b < a || a != a ? b : a;
}
template <class T, class = std::enable_if_t<is_scalar<T>>>
T max(T a, T b) {
  return a < b || a != a ? b : a;
}
template <class T, int n>
vec<T, n> min(const vec<T, n>& a, const vec<T, n>& b) {
  return each(a, b, [](T x, T y) { return min(x, y); });
}
template <class T, int n>
vec<T, n> max(const vec<T, n>& a, const vec<T, n>& b) {
  return each(a, b, [](T x, T y) { return max(x, y); });
}
template <class T>
T fmin(T a, T b) {
  return min(a, b);
}
template <class T>
T fmax(T a, T b) {
  return max(a, b);
}
template <class T>
T clamp(T x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  return min(max(x, low), high);
}

template <class T, class = std::enable_if_t<is_scalar<T>>>
T abs(T x) {
  return T(x < T(0) ? -x : x);
}
inline float abs(float x) {
  return std::fabs(x);
}
template <class T, int n>
vec<T, n> abs(const vec<T, n>& v) {
  return each(v, [](T x) { return abs(x); });
}
inline float sign(float x) {
  return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
}
template <class T>
T mix(T x, T y, T a) {
  return x + (y - x) * a;
}
template <class T>
T select(T when_false, T when_true, bool condition) {
  return condition ? when_true : when_false;
}
template <class T, int n>
vec<T, n> select(const vec<T, n>& when_false, const vec<T, n>& when_true, const vec<bool, n>& condition) {
  vec<T, n> result;
  for (int i = 0; i < n; ++i) result[i] = condition[i] ? when_true[i] : when_false[i];
  return result;
}
template <int n>
bool any(const vec<bool, n>& v) {
  bool result = v[0];
  for (int i = 1; i < n; ++i) result = result || v[i];
  return result;
}
template <int n>
bool all(const vec<bool, n>& v) {
  bool result = v[0];
  for (int i = 1; i < n; ++i) result = result && v[i];
  return result;
}

template <class T>
T popcount(T x) {
  return static_cast<T>(std::popcount(static_cast<std::make_unsigned_t<T>>(x)));
}
template <class T>
T clz(T x) {
  return static_cast<T>(std::countl_zero(static_cast<std::make_unsigned_t<T>>(x)));
}
template <class T>
T ctz(T x) {
  return static_cast<T>(std::countr_zero(static_cast<std::make_unsigned_t<T>>(x)));
}
// The upper half of the product.
inline uint mulhi(uint a, uint b) {
  return static_cast<uint>((std::uint64_t{a} * b) >> 32);
}
inline int mulhi(int a, int b) {
  return static_cast<int>((std::int64_t{a} * b) >> 32);
}
inline uint extract_bits(uint x, uint offset, uint bits) {
  return bits >= 32 ? x >> offset : (x >> offset) & ((1u << bits) - 1u);
}

}  // namespace metal
