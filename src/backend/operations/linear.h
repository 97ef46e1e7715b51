// Matrix products.
#pragma once

#include "backend/operations/argument.h"
#include "backend/operations/norm.h"
#include "backend/operations/parameters.h"

namespace mslt {

// A weight matrix [out, in], plain or quantised. A plain one may be stored transposed, where the device reads such
// (DeviceInfo::reads_transposed). In quantised ones, groups of 32 neighbours in a row share a scale, and those of 4
// bits a minimum; `in` is a multiple of 32:
//   i8: values [out, in];     w = value · scale
//   u8: values [out, in / 2]; two 4-bit values a byte: in a group's 16 bytes, byte j holds element j in its low and
//       element j + 16 in its high half; w = half · scale + minimum
struct Weight {
  Weight() = default;
  // A plain tensor is a weight.
  Weight(const Tensor& values, const Tensor& scales = {}) : values(values), scales(scales) {}
  // A plain weight from its values [in, out].
  static Weight by_columns(const Tensor& values) {
    Weight weight(values);
    weight.transposed = true;
    return weight;
  }

  std::int64_t outputs() const { return values.shape()[transposed ? 1 : 0]; }

  Tensor values;  // kept, or i8 or u8
  Tensor scales;  // f16 [out, in / 32]; for u8 [out, in / 32, 2], of scale and minimum; absent for plain weights
  bool transposed = false;
};

// out = activation(in · weightᵀ + bias), of the argument as pre_activation stores it where that is given. (A library
// may take it before it is rounded.) Where rows are few, reading the weight is what takes the time; the backend knows
// how few, and does those another way.
struct MatmulForward {
  static constexpr std::string_view name = "matmul_forward";
  Tensor out;                                // f [M, N]
  Tensor in;                                 // f [M, K]
  Weight weight;                             // [N, K]
  Tensor bias = {};                          // kept [N]
  Activation activation = Activation::none;  // any except gated ones
  Tensor pre_activation = {};                // f [M, N]: stores the activation's argument; not for quantised weights
  // Whether the bits of a row of out may depend on its row of `in` alone, not on how many rows there are. Only the CPU
  // keeps to it.
  bool independent_rows = false;

  auto arguments() const {
    return std::array{writes("out", out),
                      reads("in", in),
                      reads("weight", weight.values, weight.scales ? Elements::any : Elements::kept),
                      reads("weight.scales", weight.scales, Elements::f16),
                      reads("bias", bias, Elements::kept),
                      writes("pre_activation", pre_activation)};
  }
  void check(const Arguments& given) const;
  double flops() const { return 2.0 * static_cast<double>(in.elements()) * static_cast<double>(weight.outputs()); }
};

// out (+)= activation(norm(in) · weightᵀ + bias): a product of few rows with the norm before it and the addition behind
// it, for Backend::fused_rows() rows at most. More rows give the same, but slower than operations of their own.
struct FusedProduct {
  static constexpr std::string_view name = "fused_product";
  Tensor out;               // f [M, N]
  Tensor in;                // f [M, K]
  Tensor norm_weight = {};  // kept [K], of the norm, as in ResidualNormForward; absent for no norm
  Tensor norm_bias = {};    // kept [K]
  NormKind norm = {};
  Weight weight;                             // [N, K]
  Tensor bias = {};                          // kept [N]
  Activation activation = Activation::none;  // any except gated ones
  bool accumulate = false;                   // adds to out

  auto arguments() const {
    return std::array{accumulate ? updates("out", out) : writes("out", out),
                      reads("in", in),
                      reads("norm_weight", norm_weight, Elements::kept),
                      reads("norm_bias", norm_bias, Elements::kept),
                      reads("weight", weight.values, weight.scales ? Elements::any : Elements::kept),
                      reads("weight.scales", weight.scales, Elements::f16),
                      reads("bias", bias, Elements::kept)};
  }
  void check(const Arguments& given) const;
  double flops() const { return 2.0 * static_cast<double>(in.elements()) * static_cast<double>(weight.outputs()); }
};

// din (+)= (dout · weight) · activation'(pre_activation).
struct MatmulBackwardInput {
  static constexpr std::string_view name = "matmul_backward_input";
  Tensor din;                                // f [M, K]
  Tensor dout;                               // f [M, N]
  Tensor weight;                             // f [N, K]
  Activation activation = Activation::none;  // as in MatmulForward
  Tensor pre_activation = {};                // f [M, K], absent for Activation::none
  bool accumulate = false;                   // adds to din

  auto arguments() const {
    return std::array{accumulate ? updates("din", din) : writes("din", din), reads("dout", dout),
                      reads("weight", weight), reads("pre_activation", pre_activation)};
  }
  void check(const Arguments& given) const;
  double flops() const { return 2.0 * static_cast<double>(din.elements()) * static_cast<double>(weight.shape()[0]); }
};

// dweight += doutᵀ · in; dbias += column sums of dout.
struct MatmulBackwardWeight {
  static constexpr std::string_view name = "matmul_backward_weight";
  Tensor dweight;     // f [N, K]
  Tensor dbias = {};  // f [N]
  Tensor dout;        // f [M, N]
  Tensor in;          // f [M, K]

  auto arguments() const {
    return std::array{updates("dweight", dweight), updates("dbias", dbias), reads("dout", dout), reads("in", in)};
  }
  void check(const Arguments& given) const;
  double flops() const { return 2.0 * static_cast<double>(in.elements()) * static_cast<double>(dweight.shape()[0]); }
};

}  // namespace mslt
