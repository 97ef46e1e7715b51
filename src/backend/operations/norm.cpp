// Checks of the norms.
#include "backend/operations/norm.h"

#include "backend/operations/checks.h"

namespace mslt {
namespace {

void check_kind(const Arguments& given, const NormKind& kind, const Tensor& mean, const Tensor& bias) {
  given.require(kind.epsilon >= 0.0f, "epsilon is {}, but must be at least 0.", kind.epsilon);
  if (!kind.rms) return;
  given.absent(mean, "for RMSNorm");
  given.absent(bias, "for RMSNorm");
}

// `tensor` gives the operation its rows and columns.
void check_rows(const Arguments& given, const Tensor& tensor) {
  given.rows(tensor);
  given.require(tensor.shape()[-1] >= 1, "{}, which gives the rows, must have at least 1 column.", tensor.describe());
}

}  // namespace

void ResidualNormForward::check(const Arguments& given) const {
  check_rows(given, residual);
  const std::int64_t rows = residual.shape().rows();
  const std::int64_t columns = residual.shape()[-1];
  given.matrix(out, rows, columns);
  if (x) {
    given.matrix(x, rows, columns);
    given.matrix(sum, rows, columns);
  }
  given.vector(weight, columns);
  if (bias) given.vector(bias, columns);
  if (mean) given.vector(mean, rows);
  if (rstd) given.vector(rstd, rows);
  check_kind(given, kind, mean, bias);
  check_dropout(given, dropout);
}

void ResidualNormBackward::check(const Arguments& given) const {
  check_rows(given, dout);
  const std::int64_t rows = dout.shape().rows();
  const std::int64_t columns = dout.shape()[-1];
  given.matrix(dsum, rows, columns);
  if (dsum_direct) given.matrix(dsum_direct, rows, columns);
  given.matrix(sum, rows, columns);
  given.vector(weight, columns);
  given.vector(dweight, columns);
  if (dbias) given.vector(dbias, columns);
  check_kind(given, kind, mean, dbias);
  if (!kind.rms) given.vector(mean, rows);
  given.vector(rstd, rows);
}

}  // namespace mslt
