// Limiting and converting Highway vectors that may hold NaN, once per target. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_LIMITED_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_LIMITED_INL_H
#undef MSLT_BACKEND_CPU_LIMITED_INL_H
#else
#define MSLT_BACKEND_CPU_LIMITED_INL_H
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x between low and high; NaN stays NaN.
template <class D>
HWY_INLINE hn::Vec<D> limited(D d, hn::Vec<D> x, float low, float high) {
  // Processors keep a NaN in the second operand. Highway's emulation keeps the first operand.
  const auto inside = hn::Min(hn::Set(d, high), hn::Max(hn::Set(d, low), x));
  if constexpr (HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR) {
    return hn::IfThenElse(hn::IsNaN(x), x, inside);
  } else {
    return inside;
  }
}

// x, without a fraction and in range, as integers; any integer where x is NaN.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> to_integers(D, hn::Vec<D> x) {
  const hn::RebindToSigned<D> di;
  // Processors convert a NaN. In C++, which the emulation is written in, that is undefined.
  if constexpr (HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR) {
    return hn::ConvertTo(di, hn::IfThenZeroElse(hn::IsNaN(x), x));
  } else {
    return hn::ConvertTo(di, x);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
