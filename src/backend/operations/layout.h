// Copies, casts, sums and gathered rows.
#pragma once

#include "backend/operations/argument.h"

namespace mslt {

// out[i] = in[i], rounded to nearest even, between f32 and bf16 or f16, or from a dtype to itself.
struct Cast {
  static constexpr std::string_view name = "cast";
  Tensor out;
  Tensor in;

  auto arguments() const {
    return std::array{writes("out", out, Elements::floating), reads("in", in, Elements::floating)};
  }
  void check(const Arguments& given) const;
};

// out[i] = value.
struct Fill {
  static constexpr std::string_view name = "fill";
  Tensor out;  // f
  float value;

  auto arguments() const { return std::array{writes("out", out)}; }
  void check(const Arguments& given) const;
};

// out = in, byte for byte; any dtype, equal counts.
struct Copy {
  static constexpr std::string_view name = "copy";
  Tensor out;  // may be in
  Tensor in;

  auto arguments() const {
    return std::array{writes("out", out, Elements::any).over(in), reads("in", in, Elements::any)};
  }
  void check(const Arguments& given) const;
};

// out += in; equal counts.
struct Add {
  static constexpr std::string_view name = "add";
  Tensor out;  // f; may be in
  Tensor in;   // kept

  auto arguments() const { return std::array{updates("out", out).over(in), reads("in", in, Elements::kept)}; }
  void check(const Arguments& given) const;
};

// out[m] = in[indices[m]]. An index outside [0, N) gives zeros.
struct GatherRows {
  static constexpr std::string_view name = "gather_rows";
  Tensor out;      // f [M, C]
  Tensor in;       // f [N, C]
  Tensor indices;  // i32 [M]

  auto arguments() const {
    return std::array{writes("out", out), reads("in", in), reads("indices", indices, Elements::i32)};
  }
  void check(const Arguments& given) const;
  double bytes() const { return static_cast<double>(2 * out.bytes() + indices.bytes()); }
};

}  // namespace mslt
