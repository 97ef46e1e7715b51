// Activations chosen at run time, for the epilogues of products.
#pragma once

#include "lib/activation.h"

// Values of `activation` in MatmulArgs and MatvecArgs; any other number means ReLU.
constant constexpr uint activation_of_none = 0;
constant constexpr uint activation_of_gelu = 1;
constant constexpr uint activation_of_gelu_erf = 2;

inline float activate(uint activation, float x) {
  if (activation == activation_of_none) {
    return x;
  }
  if (activation == activation_of_gelu) {
    return gelu(x);
  }
  if (activation == activation_of_gelu_erf) {
    return gelu_erf(x);
  }
  return x < 0.0f ? 0.0f : x;
}

inline float activation_slope(uint activation, float x) {
  if (activation == activation_of_none) {
    return 1.0f;
  }
  if (activation == activation_of_gelu) {
    return gelu_derivative(x);
  }
  if (activation == activation_of_gelu_erf) {
    return gelu_erf_derivative(x);
  }
  return x > 0.0f ? 1.0f : 0.0f;
}
