// Choosing tokens.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

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

// How one row's token is drawn, in device memory as `words` i32, so that rows may differ and a recording does not hold
// it. The order of the members is that of kernels/sampling_args.h.
struct DrawSettings {
  static constexpr std::int64_t words = 8;
  float temperature = 1.0f;  // 0: the most likely token
  float top_p = 1.0f;        // above 0
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;  // above 0
  std::uint32_t top_k = 0;          // 0: all
  std::uint32_t seed_low = 0;
  std::uint32_t seed_high = 0;
  std::uint32_t sample = 0;

  std::array<std::int32_t, words> packed() const { return std::bit_cast<std::array<std::int32_t, words>>(*this); }
  static DrawSettings unpacked(std::span<const std::int32_t, words> packed) {
    std::array<std::int32_t, words> copy{};
    for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = packed[i];
    return std::bit_cast<DrawSettings>(copy);
  }
};
static_assert(sizeof(DrawSettings) == DrawSettings::words * sizeof(std::int32_t));

// Words of 32 bits that have a bit for each of so many tokens: bit id % 32 of word id / 32.
constexpr std::int64_t token_words(std::int64_t vocab) {
  return (vocab + 31) / 32;
}

// Draws a token for each row of logits[n, :vocab], by the rules of generate/sampler.h and with its random numbers: at
// temperature 0 the most likely one, else the one at the share u of the cumulative weight, from the heaviest one on (of
// equals from the first), where u is uniform from Philox at (seed, step draws[n], operation `sample`) and limits cut
// the order. Weights are exp((logit - largest) / temperature), and sums are in units of 2^-40 of the heaviest where a
// device has no f64: a draw then differs from the host's if u lies within rounding of a token's bounds, about 1e-6 of
// the whole. Logits that are not finite, and tokens with a bit in `excluded`, are never drawn; where nothing is left,
// token 0 is.
struct DrawTokens {
  static constexpr std::string_view name = "draw_tokens";
  Tensor tokens;     // i32 [N]
  Tensor values;     // f32 [N]: the largest logit before the penalty, of those not excluded; NaN if any is not finite
  Tensor draws;      // i32 [N], updated: draws so far; one more after this at a temperature above 0
  Tensor seen = {};  // i32 [N, token_words(vocab)], updated: what the penalty is for; absent: there is none
  Tensor logits;     // f [N, V'], V' >= vocab
  Tensor settings;   // i32 [N, DrawSettings::words]
  Tensor excluded = {};  // i32 [token_words(vocab)] for all rows, or [N, token_words(vocab)]
  std::int64_t vocab;

  auto arguments() const {
    return std::array{writes("tokens", tokens, Elements::i32),
                      writes("values", values, Elements::f32),
                      updates("draws", draws, Elements::i32),
                      updates("seen", seen, Elements::i32),
                      reads("logits", logits),
                      reads("settings", settings, Elements::i32),
                      reads("excluded", excluded, Elements::i32)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
