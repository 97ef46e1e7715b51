// Choosing tokens.
#pragma once

#include "backend/operations/argument.h"

namespace mslt {

// The largest of logits[n, :vocab] and its index, the smallest index on ties.
struct Argmax {
  static constexpr std::string_view name = "argmax";
  Tensor values;   // f32 [N]
  Tensor indices;  // i32 [N]
  Tensor logits;   // f [N, V'], V' >= vocab
  std::int64_t vocab;

  auto arguments() const {
    return std::array{writes("values", values, Elements::f32), writes("indices", indices, Elements::i32),
                      reads("logits", logits)};
  }
  void check(const Arguments& given) const;
};

// The k largest of logits[n, :vocab] in descending order (ties: the smaller index first).
struct TopK {
  static constexpr std::string_view name = "top_k";
  Tensor values;   // f32 [N, k]
  Tensor indices;  // i32 [N, k]
  Tensor logits;   // f [N, V'], V' >= vocab
  std::int64_t vocab;

  auto arguments() const {
    return std::array{writes("values", values, Elements::f32), writes("indices", indices, Elements::i32),
                      reads("logits", logits)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
