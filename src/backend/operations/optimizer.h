// The optimiser's operations.
#pragma once

#include <cstddef>

#include "backend/operations/argument.h"

namespace mslt {

struct AdamWConfig {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;
};

// AdamW's values that change every step, in device memory: f32 [adamw_state_size].
enum AdamWState : std::size_t {
  adamw_learning_rate,
  adamw_inverse_correction1,  // 1 / (1 - beta1^step)
  adamw_inverse_correction2,  // 1 / (1 - beta2^step)
  adamw_gradient_scale,       // multiplied into the gradients first (1 / loss scale)
  adamw_max_norm,             // clip the global norm to this; 0 clips nothing
  adamw_state_size
};

// out = (accumulate ? sqrt(out² + Σ g²) : sqrt(Σ g²)).
struct GlobalNorm {
  static constexpr std::string_view name = "global_norm";
  Tensor out;        // f32 [1]
  Tensor gradients;  // f of any shape
  bool accumulate = false;

  auto arguments() const {
    return std::array{accumulate ? updates("out", out, Elements::f32) : writes("out", out, Elements::f32),
                      reads("gradients", gradients)};
  }
  void check(const Arguments& given) const;
};

// AdamW with decoupled decay (Loshchilov & Hutter, 2019) on one range of an arena:
//   g = gradient · gradient_scale · min(1, max_norm / (norm · gradient_scale + 1e-6))
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²
//   p -= learning_rate · (m · correction1 / (sqrt(v · correction2) + epsilon) + weight_decay · p)
// If norm is not finite, nothing is written.
struct AdamWUpdate {
  static constexpr std::string_view name = "adamw";
  Tensor parameters;     // f [n]
  Tensor gradients;      // f [n]
  Tensor first_moment;   // f32 [n]
  Tensor second_moment;  // f32 [n]
  // f32 [n], only with 16-bit parameters: if given, p is the master weight, and parameters receives its rounded value.
  Tensor master = {};
  Tensor state;  // f32 [adamw_state_size]
  Tensor norm;   // f32 [1], of the gradients before gradient_scale
  AdamWConfig config = {};

  auto arguments() const {
    return std::array{master ? writes("parameters", parameters) : updates("parameters", parameters),
                      reads("gradients", gradients),
                      updates("first_moment", first_moment, Elements::f32),
                      updates("second_moment", second_moment, Elements::f32),
                      updates("master", master, Elements::f32),
                      reads("state", state, Elements::f32),
                      reads("norm", norm, Elements::f32)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
