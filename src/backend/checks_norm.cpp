// Argument checks of the norm operations.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {
namespace {

void check_kind(const Arguments& arguments, const NormKind& kind, const Tensor& mean, const Tensor& bias,
                std::string_view bias_name) {
  arguments.require(kind.epsilon >= 0.0f, "epsilon is {}, but must be at least 0.", kind.epsilon);
  if (!kind.rms) return;
  arguments.absent(mean, "mean", "for RMSNorm");
  arguments.absent(bias, bias_name, "for RMSNorm");
}

// The tensor that gives the operation its rows and columns.
void check_rows(const Arguments& arguments, const Tensor& tensor, std::string_view name) {
  arguments.elements(tensor, name, Elements::floating);
  arguments.require(tensor.shape().rank() >= 1 && tensor.shape()[-1] >= 1,
                    "{} is {}, but must have rows of at least 1 element.", name, tensor.describe());
}

}  // namespace

void check_residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                 const Tensor& residual, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                 const NormKind& kind, const Dropout& dropout) {
  const Arguments arguments("residual_norm_forward");
  check_rows(arguments, residual, "residual");
  const std::int64_t rows = residual.shape().rows();
  const std::int64_t columns = residual.shape()[-1];
  arguments.matrix(out, "out", Elements::floating, rows, columns);
  arguments.same_dtype(out, "out", residual, "residual");
  arguments.apart(out, "out", residual, "residual");
  if (x) {
    arguments.matrix(x, "x", Elements::floating, rows, columns);
    arguments.same_dtype(x, "x", residual, "residual");
    arguments.matrix(sum, "sum", Elements::floating, rows, columns);
    arguments.same_dtype(sum, "sum", residual, "residual");
    arguments.apart_or_same(sum, "sum", residual, "residual");
    arguments.apart(sum, "sum", x, "x");
    arguments.apart(sum, "sum", out, "out");
    arguments.apart_or_same(out, "out", x, "x");
  }
  arguments.vector(weight, "weight", Elements::floating, columns);
  arguments.kept_dtype(weight, "weight", residual, "residual");
  arguments.apart(out, "out", weight, "weight");
  if (bias) {
    arguments.vector(bias, "bias", Elements::floating, columns);
    arguments.same_dtype(bias, "bias", weight, "weight");
  }
  if (mean) arguments.vector(mean, "mean", Elements::f32, rows);
  if (rstd) arguments.vector(rstd, "rstd", Elements::f32, rows);
  check_kind(arguments, kind, mean, bias, "bias");
  arguments.dropout(dropout);
}

void check_residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                                  const Tensor& dsum_direct, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                  const Tensor& weight, const NormKind& kind) {
  const Arguments arguments("residual_norm_backward");
  check_rows(arguments, dout, "dout");
  const std::int64_t rows = dout.shape().rows();
  const std::int64_t columns = dout.shape()[-1];
  arguments.matrix(dsum, "dsum", Elements::floating, rows, columns);
  arguments.same_dtype(dsum, "dsum", dout, "dout");
  arguments.apart_or_same(dsum, "dsum", dout, "dout");
  if (dsum_direct) {
    arguments.matrix(dsum_direct, "dsum_direct", Elements::floating, rows, columns);
    arguments.same_dtype(dsum_direct, "dsum_direct", dout, "dout");
    arguments.apart_or_same(dsum_direct, "dsum_direct", dsum, "dsum");
  }
  arguments.matrix(sum, "sum", Elements::floating, rows, columns);
  arguments.same_dtype(sum, "sum", dout, "dout");
  arguments.apart(dsum, "dsum", sum, "sum");
  arguments.vector(weight, "weight", Elements::floating, columns);
  arguments.same_dtype(weight, "weight", dout, "dout");
  arguments.vector(dweight, "dweight", Elements::floating, columns);
  arguments.same_dtype(dweight, "dweight", dout, "dout");
  arguments.apart(dweight, "dweight", weight, "weight");
  if (dbias) {
    arguments.vector(dbias, "dbias", Elements::floating, columns);
    arguments.same_dtype(dbias, "dbias", dout, "dout");
    arguments.apart(dbias, "dbias", dweight, "dweight");
  }
  check_kind(arguments, kind, mean, dbias, "dbias");
  if (!kind.rms) arguments.vector(mean, "mean", Elements::f32, rows);
  arguments.vector(rstd, "rstd", Elements::f32, rows);
}

}  // namespace mslt
