// GELU, SiLU and their derivatives.
#pragma once

// sqrt(2 / π) and the cubic's coefficient of GELU's tanh form (Hendrycks & Gimpel, 2016).
constant constexpr float gelu_root = 0.7978845608028654f;
constant constexpr float gelu_cubic = 0.044715f;
// Beyond it float's GELU is 0 on the left and x on the right, exactly.
constant constexpr float gelu_reach = 15.0f;

// 1 / (1 + exp(-x)); the exponential is of a negative number, so it never overflows.
inline float sigmoid(float x) {
  const float e = exp(-fabs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// sigmoid(x) · (1 - sigmoid(x)), without cancellation.
inline float sigmoid_slope(float x) {
  const float e = exp(-fabs(x));
  return e / ((1.0f + e) * (1.0f + e));
}

// 0.5 x (1 + tanh(u)) = x · sigmoid(2u), u = sqrt(2/π) (x + 0.044715 x³).
inline float gelu(float x) {
  if (x < -gelu_reach) {
    return 0.0f;
  }
  if (x > gelu_reach) {
    return x;
  }
  return x * sigmoid(2.0f * gelu_root * (x + gelu_cubic * x * x * x));
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
  return sigmoid(2.0f * u) + 2.0f * x * sigmoid_slope(2.0f * u) * slope;
}

// x · sigmoid(x).
inline float silu(float x) {
  return x * sigmoid(x);
}

inline float silu_derivative(float x) {
  return sigmoid(x) + x * sigmoid_slope(x);
}
