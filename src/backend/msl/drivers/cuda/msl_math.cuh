// MSL's mathematical functions in CUDA C++, for float and vectors of it, and those of integers.
#pragma once

#include <cmath>

#include "backend/msl/drivers/cuda/msl_types.cuh"

namespace metal {

// CUDA's functions without fast math are within the error that precise:: allows; the intrinsics serve fast::.
#define MSLT_UNARY(name, expression)                             \
  MSLT_BOTH float name(float x) {                                \
    return expression;                                           \
  }                                                              \
  template <int n>                                               \
  MSLT_BOTH vec<float, n> name(const vec<float, n>& v) {         \
    return each(v, [](float x) -> float { return expression; }); \
  }
#define MSLT_UNARY_ALL                     \
  MSLT_UNARY(exp, ::expf(x))               \
  MSLT_UNARY(exp2, ::exp2f(x))             \
  MSLT_UNARY(exp10, ::exp10f(x))           \
  MSLT_UNARY(log, ::logf(x))               \
  MSLT_UNARY(log2, ::log2f(x))             \
  MSLT_UNARY(log10, ::log10f(x))           \
  MSLT_UNARY(sqrt, ::sqrtf(x))             \
  MSLT_UNARY(rsqrt, 1.0f / ::sqrtf(x))     \
  MSLT_UNARY(sin, ::sinf(x))               \
  MSLT_UNARY(cos, ::cosf(x))               \
  MSLT_UNARY(tan, ::tanf(x))               \
  MSLT_UNARY(tanh, ::tanhf(x))             \
  MSLT_UNARY(sinh, ::sinhf(x))             \
  MSLT_UNARY(cosh, ::coshf(x))             \
  MSLT_UNARY(floor, ::floorf(x))           \
  MSLT_UNARY(ceil, ::ceilf(x))             \
  MSLT_UNARY(round, ::roundf(x))           \
  MSLT_UNARY(rint, ::rintf(x))             \
  MSLT_UNARY(trunc, ::truncf(x))           \
  MSLT_UNARY(fabs, ::fabsf(x))             \
  MSLT_BOTH float pow(float x, float y) {  \
    return ::powf(x, y);                   \
  }                                        \
  MSLT_BOTH float powr(float x, float y) { \
    return ::powf(x, y);                   \
  }
MSLT_UNARY_ALL
namespace precise {
MSLT_UNARY_ALL
}  // namespace precise
#undef MSLT_UNARY_ALL
#undef MSLT_UNARY

namespace fast {
__device__ __forceinline__ float exp(float x) {
  return __expf(x);
}
__device__ __forceinline__ float exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
__device__ __forceinline__ float log(float x) {
  return __logf(x);
}
__device__ __forceinline__ float log2(float x) {
  return __log2f(x);
}
__device__ __forceinline__ float sin(float x) {
  return __sinf(x);
}
__device__ __forceinline__ float cos(float x) {
  return __cosf(x);
}
__device__ __forceinline__ float sqrt(float x) {
  return ::sqrtf(x);
}
__device__ __forceinline__ float rsqrt(float x) {
  return ::rsqrtf(x);
}
__device__ __forceinline__ float divide(float x, float y) {
  return __fdividef(x, y);
}
// Clamped to where it is 1, so that the exponential does not overflow.
__device__ __forceinline__ float tanh(float x) {
  const float e = __expf(-2.0f * ::fminf(::fabsf(x), 16.0f));
  return ::copysignf(__fdividef(1.0f - e, 1.0f + e), x);
}
}  // namespace fast

template <int n>
MSLT_BOTH vec<float, n> pow(const vec<float, n>& x, const vec<float, n>& y) {
  return each(x, y, [](float a, float b) { return ::powf(a, b); });
}
MSLT_BOTH float fmod(float x, float y) {
  return ::fmodf(x, y);
}
MSLT_BOTH float atan2(float y, float x) {
  return ::atan2f(y, x);
}
MSLT_BOTH float ldexp(float x, int k) {
  return ::ldexpf(x, k);
}
MSLT_BOTH float copysign(float x, float y) {
  return ::copysignf(x, y);
}
MSLT_BOTH float sincos(float x, float& cosine) {
  cosine = ::cosf(x);
  return ::sinf(x);
}
MSLT_BOTH bool isnan(float x) {
  return x != x;
}
MSLT_BOTH bool isfinite(float x) {
  return (as_type<uint>(x) & 0x7f800000u) != 0x7f800000u;
}
MSLT_BOTH bool isinf(float x) {
  return (as_type<uint>(x) & 0x7fffffffu) == 0x7f800000u;
}

MSLT_BOTH float fma(float a, float b, float c) {
  return ::fmaf(a, b, c);
}
template <int n>
MSLT_BOTH vec<float, n> fma(const vec<float, n>& a, const vec<float, n>& b, const vec<float, n>& c) {
  vec<float, n> result;
  for (int i = 0; i < n; ++i) result[i] = ::fmaf(a[i], b[i], c[i]);
  return result;
}

template <int n>
MSLT_BOTH float dot(const vec<float, n>& a, const vec<float, n>& b) {
  float sum = a[0] * b[0];
  for (int i = 1; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Of a NaN and a number, the number.
MSLT_BOTH float min(float a, float b) {
  return ::fminf(a, b);
}
MSLT_BOTH float max(float a, float b) {
  return ::fmaxf(a, b);
}
template <class T, class = std::enable_if_t<is_scalar<T>>>
MSLT_BOTH T min(T a, T b) {
  return b < a || a != a ? b : a;
}
template <class T, class = std::enable_if_t<is_scalar<T>>>
MSLT_BOTH T max(T a, T b) {
  return a < b || a != a ? b : a;
}
template <class T, int n>
MSLT_BOTH vec<T, n> min(const vec<T, n>& a, const vec<T, n>& b) {
  return each(a, b, [](T x, T y) { return min(x, y); });
}
template <class T, int n>
MSLT_BOTH vec<T, n> max(const vec<T, n>& a, const vec<T, n>& b) {
  return each(a, b, [](T x, T y) { return max(x, y); });
}
template <class T>
MSLT_BOTH T fmin(T a, T b) {
  return min(a, b);
}
template <class T>
MSLT_BOTH T fmax(T a, T b) {
  return max(a, b);
}
template <class T>
MSLT_BOTH T clamp(T x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  return min(max(x, low), high);
}

MSLT_BOTH float abs(float x) {
  return ::fabsf(x);
}
template <class T, class = std::enable_if_t<is_scalar<T>>>
MSLT_BOTH T abs(T x) {
  return T(x < T(0) ? -x : x);
}
template <class T, int n>
MSLT_BOTH vec<T, n> abs(const vec<T, n>& v) {
  return each(v, [](T x) { return abs(x); });
}
MSLT_BOTH float sign(float x) {
  return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
}
template <class T>
MSLT_BOTH T mix(T x, T y, T a) {
  return x + (y - x) * a;
}
template <class T>
MSLT_BOTH T select(T when_false, T when_true, bool condition) {
  return condition ? when_true : when_false;
}
template <class T, int n>
MSLT_BOTH vec<T, n> select(const vec<T, n>& when_false, const vec<T, n>& when_true, const vec<bool, n>& condition) {
  vec<T, n> result;
  for (int i = 0; i < n; ++i) result[i] = condition[i] ? when_true[i] : when_false[i];
  return result;
}
template <int n>
MSLT_BOTH bool any(const vec<bool, n>& v) {
  bool result = v[0];
  for (int i = 1; i < n; ++i) result = result || v[i];
  return result;
}
template <int n>
MSLT_BOTH bool all(const vec<bool, n>& v) {
  bool result = v[0];
  for (int i = 1; i < n; ++i) result = result && v[i];
  return result;
}

// For types of 32 bits.
template <class T>
__device__ __forceinline__ T popcount(T x) {
  static_assert(sizeof(T) == 4);
  return static_cast<T>(__popc(static_cast<uint>(x)));
}
template <class T>
__device__ __forceinline__ T clz(T x) {
  static_assert(sizeof(T) == 4);
  return static_cast<T>(__clz(static_cast<int>(x)));
}
template <class T>
__device__ __forceinline__ T ctz(T x) {
  static_assert(sizeof(T) == 4);
  return x == 0 ? T(32) : static_cast<T>(__ffs(static_cast<int>(x)) - 1);
}
// The upper half of the product.
MSLT_BOTH uint mulhi(uint a, uint b) {
  return static_cast<uint>((ulong{a} * b) >> 32);
}
MSLT_BOTH int mulhi(int a, int b) {
  return static_cast<int>((std::int64_t{a} * b) >> 32);
}
MSLT_BOTH uint extract_bits(uint x, uint offset, uint bits) {
  return bits >= 32 ? x >> offset : (x >> offset) & ((1u << bits) - 1u);
}

}  // namespace metal
