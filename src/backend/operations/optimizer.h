// The optimiser's operations.
#pragma once

#include <cstddef>
#include <cstdint>

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
// If norm is not finite, nothing is written. With a random_state, p is rounded to bf16 at random, up or down, so that
// its mean is what it was before: 16 random bits are added to the f32's bits, of which the upper 16 stay. Element e,
// counted from `first` on, takes its bits from word e / 2 % 4 of block e / 8 of (seed, step, operation) in
// base/philox.h, the lower half if e is even. bf16 values and those that are not finite stay as they are.
struct AdamWUpdate {
  static constexpr std::string_view name = "adamw";
  Tensor parameters;     // f [n]
  Tensor gradients;      // f32, or as parameters [n]
  Tensor first_moment;   // f32 [n]
  Tensor second_moment;  // f32 [n]
  // f32 [n], only with 16-bit parameters: if given, p is the master weight, and parameters receives its rounded value.
  Tensor master = {};
  // u32 [4] as in Dropout, only with bf16 parameters and without master.
  Tensor random_state = {};
  std::uint32_t operation = 0;
  std::int64_t first = 0;  // the number of the first element, a multiple of 8
  Tensor state;            // f32 [adamw_state_size]
  Tensor norm;             // f32 [1], of the gradients before gradient_scale
  AdamWConfig config = {};

  auto arguments() const {
    return std::array{master ? writes("parameters", parameters) : updates("parameters", parameters),
                      reads("gradients", gradients, Elements::floating),
                      updates("first_moment", first_moment, Elements::f32),
                      updates("second_moment", second_moment, Elements::f32),
                      updates("master", master, Elements::f32),
                      reads("random_state", random_state, Elements::u32),
                      reads("state", state, Elements::f32),
                      reads("norm", norm, Elements::f32)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
