// Powers of two, and loads of elements of each floating type and ahead of them, on Highway vectors, compiled once per
// target. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_FLOAT_VECTORS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_FLOAT_VECTORS_INL_H
#undef MSLT_BACKEND_CPU_FLOAT_VECTORS_INL_H
#else
#define MSLT_BACKEND_CPU_FLOAT_VECTORS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "backend/cpu/limited-inl.h"
#include "tensor/half.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

// Wide enough for every target, and small enough that constants such as panel widths are known at compile time.
using FloatTag = hn::CappedTag<float, 16>;
using Floats = hn::Vec<FloatTag>;

constexpr float log2_e = 1.44269504f;

// 2^x within 2 ulp; 0 below 2^-126, 2^127 above. NaN stays NaN.
// x = k + f with integer k and |f| <= 1/2; 2^f is a polynomial of least relative error, 2^k goes into the exponent.
HWY_INLINE Floats exp2(FloatTag d, Floats x) {
  const hn::RebindToSigned<FloatTag> di;
  x = limited(d, x, -127.0f, 127.0f);
  const Floats k = hn::Round(x);
  const Floats f = hn::Sub(x, k);
  Floats p = hn::Set(d, 1.53458118e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.33999312e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.61848896e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.55032878e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.240226469f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.693147206f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(to_integers(d, k), hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, exponent));
}

// A vector of elements of any floating type as floats.
HWY_INLINE Floats load_floats(FloatTag d, const float* from) {
  return hn::LoadU(d, from);
}
HWY_INLINE Floats load_floats(FloatTag d, const BFloat16* from) {
  const hn::Rebind<hwy::bfloat16_t, FloatTag> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::bfloat16_t*>(from)));
}
HWY_INLINE Floats load_floats(FloatTag d, const Float16* from) {
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
}

// How far ahead a kernel of one row fetches each of its streams.
constexpr std::int64_t bytes_ahead = 2048;

// Fetches what lies `bytes` after `at` into the second-level cache: where a kernel computes longer than it reads, or
// reads several short rows at once, the processor by itself fetches too late.
template <class T>
HWY_INLINE void prefetch(const T* at, std::int64_t bytes) {
  __builtin_prefetch(reinterpret_cast<const char*>(at) + bytes, 0, 2);
}

// Fetches the beginnings of `streams` streams, each of `bytes` bytes and behind the one before.
HWY_INLINE void prefetch_beginnings(const void* first, std::int64_t streams, std::int64_t bytes) {
  constexpr std::int64_t line = 64;
  for (std::int64_t at = 0; at < std::min(bytes, bytes_ahead); at += line) {
    for (std::int64_t s = 0; s < streams; ++s) prefetch(static_cast<const char*>(first), s * bytes + at);
  }
}

// to[i] = from[i] for i < count.
template <class T>
HWY_INLINE void convert(const T* from, float* to, std::int64_t count) {
  const FloatTag d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) hn::StoreU(load_floats(d, from + i), d, to + i);
  for (; i < count; ++i) to[i] = to_float(from[i]);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif
