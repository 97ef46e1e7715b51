// Token, position and rotary embedding.
#pragma once

#include "backend/operations/argument.h"
#include "backend/operations/parameters.h"

namespace mslt {

// out[b,t] = scale · token_weight[tokens[b,t]] + position_weight[position(b,t)]. Ids outside [0, V) and positions
// outside [0, P) give rows of zeros, never an out-of-bounds read; callers check them beforehand.
struct EmbeddingForward {
  static constexpr std::string_view name = "embedding_forward";
  Tensor out;                   // f [B, T, C]
  Tensor tokens;                // i32 [B, T]
  Tensor token_weight;          // kept [V, C], or the values of a quantised Weight (linear.h)
  Tensor token_scales = {};     // its scales; absent for a plain one
  Tensor position_weight = {};  // kept [P, C]
  Positions positions = {};
  float scale = 1.0f;

  auto arguments() const {
    return std::array{writes("out", out),
                      reads("tokens", tokens, Elements::i32),
                      reads("token_weight", token_weight, token_scales ? Elements::any : Elements::kept),
                      reads("token_scales", token_scales, Elements::f16),
                      reads("position_weight", position_weight, Elements::kept),
                      reads("positions.first", positions.first, Elements::i32)};
  }
  void check(const Arguments& given) const;
  // Reads as many rows as it writes.
  double bytes() const { return static_cast<double>(2 * out.bytes() + tokens.bytes()); }
};

// dtoken_weight[v] += scale · sum of dout over the rows of token v; dposition_weight[t] += sum of dout over b.
// Positions start at 0. Sums are in the order of rows.
struct EmbeddingBackward {
  static constexpr std::string_view name = "embedding_backward";
  Tensor dtoken_weight = {};     // f [V, C]
  Tensor dposition_weight = {};  // f [P, C], P >= T
  Tensor dout;                   // f [B, T, C]
  Tensor tokens;                 // i32 [B, T]
  float scale = 1.0f;

  auto arguments() const {
    return std::array{updates("dtoken_weight", dtoken_weight), updates("dposition_weight", dposition_weight),
                      reads("dout", dout), reads("tokens", tokens, Elements::i32)};
  }
  void check(const Arguments& given) const;
  // If all tokens differ.
  double bytes() const { return static_cast<double>(3 * dout.bytes() + tokens.bytes()); }
};

// Rotary position embedding (Su et al., 2021) on the query and key parts of fused qkv, in place, as Hugging Face's half
// rotation: with angle a = position · inverse_frequencies[i], for the P <= D/2 pairs i that have a frequency,
// (x[i], x[i+P]) becomes scale · (x[i] cos a - x[i+P] sin a, x[i+P] cos a + x[i] sin a). Channels from 2P on stay.
struct Rope {
  static constexpr std::string_view name = "rope";
  Tensor qkv;                  // f [B, T, (H+2K)·D]
  Tensor inverse_frequencies;  // f32 [P]
  Positions positions = {};
  AttentionShape shape;
  float scale = 1.0f;
  bool backward = false;  // rotates by the negative angle: the transpose, for gradients

  auto arguments() const {
    return std::array{updates("qkv", qkv), reads("inverse_frequencies", inverse_frequencies, Elements::f32),
                      reads("positions.first", positions.first, Elements::i32)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
