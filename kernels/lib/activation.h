// GELU, SiLU and their derivatives.
#pragma once

// sqrt(2 / π) and the cubic's coefficient of GELU's tanh form (Hendrycks & Gimpel, 2016).
constant constexpr float gelu_root = 0.7978845608028654f;
constant constexpr float gelu_cubic = 0.044715f;
// Beyond this, GELU in float is exactly 0 on the left and x on the right.
constant constexpr float gelu_reach = 15.0f;

struct Sigmoid {
  float value;  // 1 / (1 + exp(-x))
  float slope;  // value · (1 - value), without cancellation
};

// The exponential is of a negative number, so it never overflows.
inline Sigmoid sigmoid(float x) {
  const float e = exp(-fabs(x));
  const float inverse = 1.0f / (1.0f + e);
  Sigmoid result;
  result.value = x < 0.0f ? e * inverse : inverse;
  result.slope = e * inverse * inverse;
  return result;
}

// 0.5 x (1 + tanh(u)) = x · sigmoid(2u), u = sqrt(2/π) (x + 0.044715 x³).
inline float gelu(float x) {
  if (x < -gelu_reach) {
    return 0.0f;
  }
  if (x > gelu_reach) {
    return x;
  }
  return x * sigmoid(2.0f * gelu_root * (x + gelu_cubic * x * x * x)).value;
}

inline float gelu_derivative(float x) {
  if (x < -gelu_reach) {
    return 0.0f;
  }
  if (x > gelu_reach) {
    return 1.0f;
  }
  const float u = gelu_root * (x + gelu_cubic * x * x * x);
  const float slope = gelu_root * (1.0f + 3.0f * gelu_cubic * x * x);
  const Sigmoid s = sigmoid(2.0f * u);
  return s.value + 2.0f * x * s.slope * slope;
}

// exp(-t² / 2). Corrects the rounding error of the square, which would cost t² / 2 ulp.
inline float normal_bell(float t) {
  const float square = t * t;
  const float bell = exp(-0.5f * square);
  return fma(-0.5f * fma(t, t, -square), bell, bell);
}

// exp(t² / 2) · erfc(t / sqrt(2)) / 2 for t from 0 to gelu_reach, within 5 ulp: multiplied by the bell, the normal
// distribution's tail beyond t. A polynomial in (t - 4) / (t + 4) over 1 + t / 4 (Shepherd & Laframboise, 1981) with an
// error of 2e-8.
inline float normal_tail_ratio(float t) {
  const float q = (t - 4.0f) / (t + 4.0f);
  float p = fma(-3.1389598e-05f, q, 4.724913e-05f);
  p = fma(p, q, 3.9172042e-04f);
  p = fma(p, q, -8.8024320e-04f);
  p = fma(p, q, -1.8813506e-03f);
  p = fma(p, q, 1.5101546e-02f);
  p = fma(p, q, -4.6630826e-02f);
  p = fma(p, q, 9.6784174e-02f);
  p = fma(p, q, -1.5197414e-01f);
  p = fma(p, q, 1.8882129e-01f);
  return 4.0f * p / (t + 4.0f);
}

// 0.5 x (1 + erf(x / sqrt(2))), without cancellation for any negative x: within 7 ulp.
inline float gelu_erf(float x) {
  if (x < -gelu_reach) {
    return 0.0f;
  }
  if (x > gelu_reach) {
    return x;
  }
  const float t = fabs(x);
  const float beyond = normal_bell(t) * normal_tail_ratio(t);
  return x * (x < 0.0f ? beyond : 1.0f - beyond);
}

inline float gelu_erf_derivative(float x) {
  if (x < -gelu_reach) {
    return 0.0f;
  }
  if (x > gelu_reach) {
    return 1.0f;
  }
  const float t = fabs(x);
  const float bell = normal_bell(t);
  const float beyond = bell * normal_tail_ratio(t);
  return (x < 0.0f ? beyond : 1.0f - beyond) + 0.3989422804f * bell * x;  // 1 / sqrt(2π)
}

// x · sigmoid(x).
inline float silu(float x) {
  return x * sigmoid(x).value;
}

inline float silu_derivative(float x) {
  const Sigmoid s = sigmoid(x);
  return s.value + x * s.slope;
}
