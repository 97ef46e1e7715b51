// Activations and dropout as operations of their own.
#pragma once

#include "backend/operations/argument.h"
#include "backend/operations/parameters.h"

namespace mslt {

// out = activation(in), one of
//   gelu:     0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))  (Hendrycks & Gimpel, 2016)
//   gelu_erf: 0.5 x (1 + erf(x / sqrt(2)))
//   relu:     max(x, 0)
//   swiglu:   silu(gate) · up (Shazeer, 2020), where a row of `in` holds gate, then up
//   geglu:    gelu(gate) · up
struct ActivationForward {
  static constexpr std::string_view name = "activation_forward";
  Activation activation;
  Tensor out;  // f [N, F]
  Tensor in;   // f [N, F], or [N, 2F] for swiglu and geglu

  auto arguments() const { return std::array{writes("out", out), reads("in", in)}; }
  void check(const Arguments& given) const;
};

struct ActivationBackward {
  static constexpr std::string_view name = "activation_backward";
  Activation activation;
  Tensor din;   // f, as in; may be `in` for swiglu and geglu, dout for the others
  Tensor dout;  // f [N, F]
  Tensor in;    // of the forward pass

  auto arguments() const {
    return std::array{writes("din", din).over(is_gated(activation) ? in : dout), reads("dout", dout), reads("in", in)};
  }
  void check(const Arguments& given) const;
};

// out = dropout(in), element by element. The backward pass is the same function of the gradient.
struct DropElements {
  static constexpr std::string_view name = "dropout";
  Tensor out;  // f; may be in
  Tensor in;   // f, as many elements
  Dropout dropout;

  auto arguments() const {
    return std::array{writes("out", out).over(in), reads("in", in),
                      reads("dropout.random_state", dropout.random_state, Elements::u32)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
