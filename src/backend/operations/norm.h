// LayerNorm and RMSNorm, with the residual addition before them.
#pragma once

#include "backend/operations/argument.h"
#include "backend/operations/parameters.h"

namespace mslt {

struct NormKind {
  bool rms = false;  // RMSNorm if true, else LayerNorm
  float epsilon = 1e-5f;
  float weight_offset = 0.0f;  // added to weights where they are used; 1 in Gemma
};

// Rows that are pieces of wider rows, such as the heads of fused queries, keys and values.
struct RowPieces {
  std::int64_t first = 0;  // column where the first piece begins; the others follow it
  std::int64_t count = 0;  // of each wide row; 0 if the rows are whole

  // The elements of the pieces in `tensor`, or all of them if the rows are whole.
  std::int64_t elements_of(const Tensor& tensor, std::int64_t columns) const {
    return count == 0 || tensor.shape().rank() == 0 ? tensor.elements() : tensor.shape().rows() * count * columns;
  }
};

// Where the rows of a norm lie in a tensor.
struct NormRows {
  std::int64_t rows;     // N
  std::int64_t columns;  // C
  std::int64_t stride;   // columns of the tensor
  std::int64_t first;    // column where the first piece begins
  std::int64_t pieces;   // of each of the tensor's rows; 1 if they are whole

  // `columns` counts only if the rows are pieces.
  NormRows(const Tensor& tensor, const RowPieces& pieces, std::int64_t columns);
  // The index of the row's first element.
  std::int64_t begin(std::int64_t row) const { return row / pieces * stride + first + row % pieces * columns; }
};

// sum = residual + dropout(x); out = LayerNorm(sum) or RMSNorm(sum), of the sum as it is stored, over the last
// dimension:
//   LayerNorm: (sum - mean) · rstd · weight + bias, rstd = 1 / sqrt(variance + epsilon)     (Ba et al., 2016)
//   RMSNorm:   sum · rstd · weight,                 rstd = 1 / sqrt(mean square + epsilon)  (Zhang & Sennrich, 2019)
// With `pieces`, out and residual are [M, W], and their pieces of C elements are the N = M · pieces.count rows. Other
// columns stay as they are.
struct ResidualNormForward {
  static constexpr std::string_view name = "residual_norm_forward";
  Tensor out;        // f [N, C]; may be x or residual
  Tensor sum = {};   // f [N, C]; may be residual; required with x
  Tensor mean = {};  // f32 [N], for a backward pass; absent for RMSNorm
  Tensor rstd = {};  // f32 [N], for a backward pass
  Tensor residual;   // f [N, C]
  Tensor x = {};     // f [N, C]; absent with pieces; if absent, the sum is residual
  Tensor weight;     // kept [C]
  Tensor bias = {};  // kept [C]; absent for RMSNorm
  NormKind kind = {};
  Dropout dropout = {};
  RowPieces pieces = {};

  NormRows rows() const { return {residual, pieces, weight.elements()}; }
  auto arguments() const {
    return std::array{writes("out", out).over(x).over(residual).of(pieces.elements_of(out, weight.elements())),
                      writes("sum", sum).over(residual),
                      writes("mean", mean, Elements::f32),
                      writes("rstd", rstd, Elements::f32),
                      reads("residual", residual).of(pieces.elements_of(residual, weight.elements())),
                      reads("x", x),
                      reads("weight", weight, Elements::kept),
                      reads("bias", bias, Elements::kept),
                      reads("dropout.random_state", dropout.random_state, Elements::u32)};
  }
  void check(const Arguments& given) const;
};

// dsum = dsum_direct + the norm's gradient of dout; adds to dweight, dbias and dx_bias. For dropout, apply DropElements
// to dsum. With `pieces`, dsum and dout are [M, W], as out and residual are forward.
struct ResidualNormBackward {
  static constexpr std::string_view name = "residual_norm_backward";
  Tensor dsum;              // f [N, C]; may be dout
  Tensor dweight;           // f [C]
  Tensor dbias = {};        // f [C]; absent without a bias
  Tensor dx_bias = {};      // f [C], of a bias that x ended with: Σ dsum of all rows; absent with pieces
  Tensor dout;              // f [N, C]
  Tensor dsum_direct = {};  // f [N, C]: reaches the sum around the norm; may be dsum; absent with pieces
  Tensor sum;               // f [N, C]
  Tensor mean = {};         // f32 [N]; absent for RMSNorm
  Tensor rstd;              // f32 [N]
  Tensor weight;            // f [C]
  NormKind kind = {};
  RowPieces pieces = {};

  NormRows rows() const { return {dout, pieces, weight.elements()}; }
  auto arguments() const {
    return std::array{writes("dsum", dsum).over(dout).over(dsum_direct).of(pieces.elements_of(dsum, weight.elements())),
                      updates("dweight", dweight),
                      updates("dbias", dbias),
                      updates("dx_bias", dx_bias),
                      reads("dout", dout).of(pieces.elements_of(dout, weight.elements())),
                      reads("dsum_direct", dsum_direct),
                      reads("sum", sum),
                      reads("mean", mean, Elements::f32),
                      reads("rstd", rstd, Elements::f32),
                      reads("weight", weight)};
  }
  void check(const Arguments& given) const;
};

}  // namespace mslt
