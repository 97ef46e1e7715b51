// LayerNorm and RMSNorm, with the residual addition before them.
#pragma once

#include "backend/operations/argument.h"
#include "backend/operations/parameters.h"

namespace mslt {

struct NormKind {
  bool rms = false;  // RMSNorm if true, else LayerNorm
  float epsilon = 1e-5f;
};

// sum = residual + dropout(x); out = LayerNorm(sum) or RMSNorm(sum), over the last dimension:
//   LayerNorm: (sum - mean) · rstd · weight + bias, rstd = 1 / sqrt(variance + epsilon)     (Ba et al., 2016)
//   RMSNorm:   sum · rstd · weight,                 rstd = 1 / sqrt(mean square + epsilon)  (Zhang & Sennrich, 2019)
struct ResidualNormForward {
  static constexpr std::string_view name = "residual_norm_forward";
  Tensor out;        // f [N, C]; may be x
  Tensor sum = {};   // f [N, C]; may be residual; required with x, otherwise not written
  Tensor mean = {};  // f32 [N], for a backward pass; absent for RMSNorm
  Tensor rstd = {};  // f32 [N], for a backward pass
  Tensor residual;   // f [N, C]
  Tensor x = {};     // f [N, C]; if absent, residual is normalised
  Tensor weight;     // kept [C]
  Tensor bias = {};  // kept [C]; absent for RMSNorm
  NormKind kind = {};
  Dropout dropout = {};

  auto arguments() const {
    return std::array{writes("out", out).over(x),
                      writes("sum", sum).over(residual),
                      writes("mean", mean, Elements::f32),
                      writes("rstd", rstd, Elements::f32),
                      reads("residual", residual),
                      reads("x", x),
                      reads("weight", weight, Elements::kept),
                      reads("bias", bias, Elements::kept),
                      reads("dropout.random_state", dropout.random_state, Elements::u32)};
  }
  void check(const Arguments& given) const;
};

// dsum = dsum_direct + the norm's gradient of dout; adds to dweight and dbias. For dropout, apply DropElements to dsum.
struct ResidualNormBackward {
  static constexpr std::string_view name = "residual_norm_backward";
  Tensor dsum;              // f [N, C]; may be dout
  Tensor dweight;           // f [C]
  Tensor dbias = {};        // f [C]; absent without a bias
  Tensor dout;              // f [N, C]
  Tensor dsum_direct = {};  // f [N, C]: the gradient that reaches the sum around the norm; may be dsum
  Tensor sum;               // f [N, C]
  Tensor mean = {};         // f32 [N]; absent for RMSNorm
  Tensor rstd;              // f32 [N]
  Tensor weight;            // f [C]
  NormKind kind = {};

  auto arguments() const {
    return std::array{writes("dsum", dsum).over(dout).over(dsum_direct),
                      updates("dweight", dweight),
                      updates("dbias", dbias),
                      reads("dout", dout),
                      reads("dsum_direct", dsum_direct),
                      reads("sum", sum),
                      reads("mean", mean, Elements::f32),
                      reads("rstd", rstd, Elements::f32),
                      reads("weight", weight)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
