// Elementary functions on Highway vectors, compiled once per target. Include it after foreach_target.h.
//
// Errors are the largest over every 97th float of the range in which the result is normal, compared with double
// arithmetic; tests/backend/math_test.cpp checks them. NaN gives NaN everywhere.
#if defined(MSLT_BACKEND_CPU_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_MATH_INL_H
#undef MSLT_BACKEND_CPU_MATH_INL_H
#else
#define MSLT_BACKEND_CPU_MATH_INL_H
#endif

#include <hwy/highway.h>

#include <limits>

#include "backend/cpu/limited-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 2^n for integers n in [-126, 127].
template <class D, class DI = hn::RebindToSigned<D>>
HWY_INLINE hn::Vec<D> power_of_two(D d, hn::Vec<DI> n) {
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(DI(), 127))));
}

// e^x within 1.1 ulp: 0 below -104, infinity above 88.73, subnormal results rounded once more.
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r = 1 + r + r² q(r), q minimax of degree 4; ln 2 in two parts makes r exact.
template <class D>
HWY_INLINE hn::Vec<D> exp(D d, hn::Vec<D> x) {
  const auto limited = hn::Min(hn::Max(x, hn::Set(d, -104.0f)), hn::Set(d, 89.0f));
  const auto whole = hn::Round(hn::Mul(limited, hn::Set(d, 1.44269502f)));
  auto r = hn::NegMulAdd(whole, hn::Set(d, 0x1.62e4p-1f), limited);
  r = hn::NegMulAdd(whole, hn::Set(d, 0x1.7f7d1cp-20f), r);
  auto q = hn::MulAdd(r, hn::Set(d, 0.00138146093f), hn::Set(d, 0.00836871006f));
  q = hn::MulAdd(r, q, hn::Set(d, 0.041668389f));
  q = hn::MulAdd(r, q, hn::Set(d, 0.166665211f));
  q = hn::MulAdd(r, q, hn::Set(d, 0.49999994f));
  const auto mantissa = hn::Add(hn::Set(d, 1.0f), hn::MulAdd(hn::Mul(r, r), q, r));
  // Two factors, because n may be outside the exponents of normal numbers.
  const auto n = to_integers(d, whole);
  const auto half = hn::ShiftRight<1>(n);
  const auto result = hn::Mul(hn::Mul(mantissa, power_of_two(d, half)), power_of_two(d, hn::Sub(n, half)));
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// 1 / (1 + e^-x) within 2.5 ulp for x above -87.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp(d, hn::Neg(x))));
}

// s = sigmoid(x) and its derivative, bell = s (1 - s), both from e^-|x|: never infinite, and without subtraction.
template <class D>
HWY_INLINE void sigmoid_and_bell(D d, hn::Vec<D> x, hn::Vec<D>& s, hn::Vec<D>& bell) {
  const auto one = hn::Set(d, 1.0f);
  const auto small = exp(d, hn::Neg(hn::Abs(x)));
  const auto inverse = hn::Div(one, hn::Add(one, small));
  const auto product = hn::Mul(small, inverse);
  s = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), product, inverse);
  bell = hn::Mul(product, inverse);
}

// GELU's tanh form is x · sigmoid(2u) with u = sqrt(2/π) (x + 0.044715 x³), because (1 + tanh u) / 2 = sigmoid(2u): no
// cancellation for any negative x.
inline constexpr float gelu_linear = 1.5957691216057308f;   // 2 sqrt(2/π)
inline constexpr float gelu_cubic = 0.071354816272600248f;  // 2 sqrt(2/π) · 0.044715

// tanh-GELU; the relative error is within 3 ulp, plus 2 ulp per unit of |2u| for negative x.
template <class D>
HWY_INLINE hn::Vec<D> gelu(D d, hn::Vec<D> x) {
  const auto slope = hn::MulAdd(hn::Mul(x, x), hn::Set(d, gelu_cubic), hn::Set(d, gelu_linear));
  return hn::Mul(x, sigmoid(d, hn::Mul(x, slope)));
}

// Its derivative, s + x s (1 - s) 2u' with s = sigmoid(2u), within 1e-6 of it.
template <class D>
HWY_INLINE hn::Vec<D> gelu_derivative(D d, hn::Vec<D> x) {
  // Beyond 30 it is 0 or 1, and products would overflow.
  x = limited(d, x, -30.0f, 30.0f);
  const auto square = hn::Mul(x, x);
  auto s = square;
  auto bell = square;
  sigmoid_and_bell(d, hn::Mul(x, hn::MulAdd(square, hn::Set(d, gelu_cubic), hn::Set(d, gelu_linear))), s, bell);
  const auto slope = hn::MulAdd(square, hn::Set(d, 3.0f * gelu_cubic), hn::Set(d, gelu_linear));
  return hn::MulAdd(hn::Mul(x, bell), slope, s);
}

// e^(-t²/2) for t >= 0. With fused multiply-add, the rounding error of the square is corrected; without, it costs t² /
// 2 ulp.
template <class D>
HWY_INLINE hn::Vec<D> normal_bell(D d, hn::Vec<D> t) {
  const auto square = hn::Mul(t, t);
  const auto bell = exp(d, hn::Mul(square, hn::Set(d, -0.5f)));
  return hn::MulAdd(hn::Mul(hn::MulSub(t, t, square), hn::Set(d, -0.5f)), bell, bell);
}

// e^(t²/2) · erfc(t / sqrt(2)) / 2 for t from 0 to 15: multiplied by normal_bell(t), the normal distribution's tail
// beyond t. A polynomial in q = (t - 4) / (t + 4) over 1 + t / 4 (Shepherd & Laframboise, 1981) with an error of 2e-8.
template <class D>
HWY_INLINE hn::Vec<D> normal_tail_ratio(D d, hn::Vec<D> t) {
  const auto four = hn::Set(d, 4.0f);
  const auto sum = hn::Add(t, four);
  const auto q = hn::Div(hn::Sub(t, four), sum);
  auto p = hn::MulAdd(hn::Set(d, -3.1389598e-05f), q, hn::Set(d, 4.724913e-05f));
  p = hn::MulAdd(p, q, hn::Set(d, 3.9172042e-04f));
  p = hn::MulAdd(p, q, hn::Set(d, -8.8024320e-04f));
  p = hn::MulAdd(p, q, hn::Set(d, -1.8813506e-03f));
  p = hn::MulAdd(p, q, hn::Set(d, 1.5101546e-02f));
  p = hn::MulAdd(p, q, hn::Set(d, -4.6630826e-02f));
  p = hn::MulAdd(p, q, hn::Set(d, 9.6784174e-02f));
  p = hn::MulAdd(p, q, hn::Set(d, -1.5197414e-01f));
  p = hn::MulAdd(p, q, hn::Set(d, 1.8882129e-01f));
  return hn::Div(hn::Mul(four, p), sum);
}

// Beyond this the normal distribution's tail is 0 in float.
inline constexpr float normal_reach = 15.0f;

// GELU's exact form, 0.5 x (1 + erf(x / sqrt(2))), within 7 ulp (plus x² / 2 without fused multiply-add): for negative
// x the tail is computed directly, not as a difference.
template <class D>
HWY_INLINE hn::Vec<D> gelu_erf(D d, hn::Vec<D> x) {
  x = limited(d, x, -normal_reach, std::numeric_limits<float>::infinity());
  const auto t = limited(d, hn::Abs(x), 0.0f, normal_reach);
  const auto beyond = hn::Mul(normal_bell(d, t), normal_tail_ratio(d, t));
  return hn::Mul(x, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), beyond, hn::Sub(hn::Set(d, 1.0f), beyond)));
}

// Its derivative, Φ(x) + x φ(x), within 5e-7 of it.
template <class D>
HWY_INLINE hn::Vec<D> gelu_erf_derivative(D d, hn::Vec<D> x) {
  x = limited(d, x, -normal_reach, normal_reach);
  const auto t = hn::Abs(x);
  const auto bell = normal_bell(d, t);
  const auto beyond = hn::Mul(bell, normal_tail_ratio(d, t));
  const auto below = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), beyond, hn::Sub(hn::Set(d, 1.0f), beyond));
  return hn::MulAdd(hn::Mul(x, hn::Set(d, 0.3989422804f)), bell, below);  // 1 / sqrt(2π)
}

// tanh(x) within 3 ulp: near 0 a polynomial (Moshier, 1989), since 1 - 2 / (e^2x + 1) cancels there.
template <class D>
HWY_INLINE hn::Vec<D> hyperbolic_tangent(D d, hn::Vec<D> x) {
  const auto square = hn::Mul(x, x);
  auto p = hn::MulAdd(hn::Set(d, -5.70498872745e-03f), square, hn::Set(d, 2.06390887954e-02f));
  p = hn::MulAdd(p, square, hn::Set(d, -5.37397155531e-02f));
  p = hn::MulAdd(p, square, hn::Set(d, 1.33314422036e-01f));
  p = hn::MulAdd(p, square, hn::Set(d, -3.33332819422e-01f));
  const auto near = hn::MulAdd(hn::Mul(p, square), x, x);
  const auto t = hn::Abs(x);
  const auto one = hn::Set(d, 1.0f);
  const auto far = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(exp(d, hn::Add(t, t)), one)));
  return hn::IfThenElse(hn::Lt(t, hn::Set(d, 0.625f)), near, hn::CopySign(far, x));
}

// cap · tanh(x / cap), a soft cap (Gemma Team, 2024).
template <class D>
HWY_INLINE hn::Vec<D> soft_cap(D d, hn::Vec<D> x, float cap) {
  return hn::Mul(hyperbolic_tangent(d, hn::Div(x, hn::Set(d, cap))), hn::Set(d, cap));
}

// Its derivative, from the result.
template <class D>
HWY_INLINE hn::Vec<D> soft_cap_slope(D d, hn::Vec<D> capped, float cap) {
  const auto share = hn::Div(capped, hn::Set(d, cap));
  return hn::NegMulAdd(share, share, hn::Set(d, 1.0f));
}

// cos and sin of `angle`, within 1.5 ulp of 1 for |angle| below 2^24.
// The angle is reduced to |r| <= π/4 in double, where the product with the leading 29 bits of π/2 is exact.
template <class D>
HWY_INLINE void cos_sin(D d, hn::Vec<D> angle, hn::Vec<D>& cosine, hn::Vec<D>& sine) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<double, D> dd;
  const auto wide = hn::PromoteTo(dd, angle);
  const auto quarters = hn::Round(hn::Mul(wide, hn::Set(dd, 0.63661977236758134)));
  auto remainder = hn::NegMulAdd(quarters, hn::Set(dd, 0x1.921fb54p+0), wide);
  remainder = hn::NegMulAdd(quarters, hn::Set(dd, 0x1.10b4611a62633p-30), remainder);
  const auto r = hn::DemoteTo(d, remainder);
  const auto quadrant = hn::DemoteTo(di, quarters);
  const auto z = hn::Mul(r, r);
  auto s = hn::MulAdd(z, hn::Set(d, 2.71812178e-06f), hn::Set(d, -0.000198393129f));
  s = hn::MulAdd(z, s, hn::Set(d, 0.00833332911f));
  s = hn::MulAdd(z, s, hn::Set(d, -0.166666672f));
  s = hn::MulAdd(hn::Mul(r, z), s, r);
  auto c = hn::MulAdd(z, hn::Set(d, 2.43835693e-05f), hn::Set(d, -0.0013886682f));
  c = hn::MulAdd(z, c, hn::Set(d, 0.0416666195f));
  c = hn::MulAdd(z, c, hn::Set(d, -0.5f));
  c = hn::MulAdd(z, c, hn::Set(d, 1.0f));
  // Odd quadrants swap the two; sin is negative in quadrants 2 and 3, cos in 1 and 2.
  const auto one = hn::Set(di, 1);
  const auto two = hn::Set(di, 2);
  const auto swap = hn::RebindMask(d, hn::Eq(hn::And(quadrant, one), one));
  const auto sine_sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::And(quadrant, two)));
  const auto cosine_sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::And(hn::Add(quadrant, one), two)));
  sine = hn::Xor(hn::IfThenElse(swap, c, s), sine_sign);
  cosine = hn::Xor(hn::IfThenElse(swap, s, c), cosine_sign);
}

}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
