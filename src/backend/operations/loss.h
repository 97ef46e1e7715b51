// Cross entropy and sums.
#pragma once

#include "backend/operations/argument.h"

namespace mslt {

// out[i] = cap · tanh(in[i] / cap): soft caps of logits (Gemma Team, 2024).
struct SoftCap {
  static constexpr std::string_view name = "soft_cap";
  Tensor out;  // f; may be in
  Tensor in;   // f, as many elements
  float cap;

  auto arguments() const { return std::array{writes("out", out).over(in), reads("in", in)}; }
  void check(const Arguments& given) const;
};

// losses[n] = log_sum_exp(logits[n, :vocab]) - logits[n, targets[n]], or 0 if targets[n] < 0 (padding). Targets from
// vocab on count as padding; callers check beforehand. With loss_scale, logits becomes dlogits in place: loss_scale ·
// (softmax - one-hot), zeros in padding rows and in columns from vocab on. With softcap, logits are the results of
// SoftCap, and dlogits the gradient of what it read.
struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";
  Tensor losses;   // f32 [N]
  Tensor logits;   // f [N, V'], V' >= vocab
  Tensor targets;  // i32 [N]
  std::int64_t vocab;
  Tensor loss_scale = {};  // f32 [1]
  float softcap = 0.0f;

  auto arguments() const {
    return std::array{writes("losses", losses, Elements::f32),
                      loss_scale ? updates("logits", logits) : reads("logits", logits),
                      reads("targets", targets, Elements::i32), reads("loss_scale", loss_scale, Elements::f32)};
  }
  void check(const Arguments& given) const;
};

// out = (accumulate ? out : 0) + sum of in, in a fixed order.
struct Sum {
  static constexpr std::string_view name = "sum";
  Tensor out;  // f32 [1]
  Tensor in;   // f32 of any shape
  bool accumulate = false;

  auto arguments() const {
    return std::array{accumulate ? updates("out", out, Elements::f32) : writes("out", out, Elements::f32),
                      reads("in", in, Elements::f32)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
