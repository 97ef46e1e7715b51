// Checks of the norms.
#include "backend/operations/norm.h"

#include <algorithm>

#include "backend/operations/checks.h"

namespace mslt {
namespace {

void check_kind(const Arguments& given, const NormKind& kind, const Tensor& mean, const Tensor& bias) {
  given.require(kind.epsilon >= 0.0f, "epsilon is {}, but must be at least 0.", kind.epsilon);
  if (!kind.rms) return;
  given.absent(mean, "for RMSNorm");
  given.absent(bias, "for RMSNorm");
}

// `tensor` gives the operation its rows, of the columns of `weight` if they are pieces.
NormRows check_rows(const Arguments& given, const Tensor& tensor, const Tensor& weight, const RowPieces& pieces) {
  given.rows(tensor);
  given.elements(weight);
  given.require(pieces.first >= 0 && pieces.count >= 0, "pieces are {} from column {}, but both must be at least 0.",
                pieces.count, pieces.first);
  const NormRows rows(tensor, pieces, weight.elements());
  given.require(rows.columns >= 1, "{}, which gives the rows, must have at least 1 column.", tensor.describe());
  given.require(rows.columns <= (rows.stride - rows.first) / rows.pieces,
                "{} has no room for {} pieces of {} columns from column {}.", tensor.describe(), rows.pieces,
                rows.columns, rows.first);
  return rows;
}

}  // namespace

NormRows::NormRows(const Tensor& tensor, const RowPieces& pieces, std::int64_t columns)
    : rows(tensor.shape().rows() * std::max<std::int64_t>(pieces.count, 1)),
      columns(pieces.count == 0 ? tensor.shape()[-1] : columns),
      stride(tensor.shape()[-1]),
      first(pieces.count == 0 ? 0 : pieces.first),
      pieces(std::max<std::int64_t>(pieces.count, 1)) {}

void ResidualNormForward::check(const Arguments& given) const {
  const auto [n, columns, stride, first, count] = check_rows(given, residual, weight, pieces);
  given.matrix(out, n / count, stride);
  if (pieces.count > 0) given.absent(x, "with pieces");
  if (x) given.matrix(x, n, columns);
  if (x || sum) given.matrix(sum, n, columns);
  given.vector(weight, columns);
  if (bias) given.vector(bias, columns);
  if (mean) given.vector(mean, n);
  if (rstd) given.vector(rstd, n);
  check_kind(given, kind, mean, bias);
  check_dropout(given, dropout);
}

void ResidualNormBackward::check(const Arguments& given) const {
  const auto [n, columns, stride, first, count] = check_rows(given, dout, weight, pieces);
  given.matrix(dsum, n / count, stride);
  if (pieces.count > 0) given.absent(dsum_direct, "with pieces");
  if (pieces.count > 0) given.absent(dx_bias, "with pieces");
  if (dsum_direct) given.matrix(dsum_direct, n, columns);
  given.matrix(sum, n, columns);
  given.vector(weight, columns);
  given.vector(dweight, columns);
  if (dbias) given.vector(dbias, columns);
  if (dx_bias) given.vector(dx_bias, columns);
  check_kind(given, kind, mean, dbias);
  if (!kind.rms) given.vector(mean, n);
  given.vector(rstd, n);
}

}  // namespace mslt
