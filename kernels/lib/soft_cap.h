// Soft caps of attention scores and logits (Gemma Team, 2024).
#pragma once

// tanh(x) within 3 ulp: near 0 a polynomial (Moshier, 1989), since 1 - 2 / (exp(2x) + 1) cancels there.
inline float hyperbolic_tangent(float x) {
  const float t = fabs(x);
  if (t < 0.625f) {
    const float square = x * x;
    float p = fma(-5.70498872745e-03f, square, 2.06390887954e-02f);
    p = fma(p, square, -5.37397155531e-02f);
    p = fma(p, square, 1.33314422036e-01f);
    p = fma(p, square, -3.33332819422e-01f);
    return fma(p * square, x, x);
  }
  const float far = 1.0f - 2.0f / (exp(2.0f * t) + 1.0f);
  return x < 0.0f ? -far : far;
}

// cap · tanh(x / cap); x itself where cap is 0.
inline float soft_cap(float x, float cap) {
  return cap == 0.0f ? x : cap * hyperbolic_tangent(x / cap);
}

// Its derivative, from the result.
inline float soft_cap_slope(float capped, float cap) {
  if (cap == 0.0f) {
    return 1.0f;
  }
  const float share = capped / cap;
  return 1.0f - share * share;
}
