// Checks of the matrix products.
#include "backend/operations/linear.h"

#include "backend/operations/checks.h"

namespace mslt {
namespace {

void check_plain_activation(const Arguments& given, Activation activation) {
  given.require(!is_gated(activation),
                "the activation is gated, but must be none, gelu, gelu_erf or relu: swiglu and geglu are operations of "
                "their own.");
}

template <class Op>
void check_product(const Arguments& given, const Op& op) {
  check_plain_activation(given, op.activation);
  const std::int64_t length = check_weight(given, op.weight.values, op.weight.scales);
  given.require(!op.weight.transposed || is_floating(op.weight.values.dtype()),
                "{} is {}, but a transposed weight must be f32, bf16 or f16.", given.listed_name(op.weight.values),
                op.weight.values.describe());
  const std::int64_t inner = op.weight.transposed ? op.weight.values.shape()[0] : length;
  const std::int64_t columns = op.weight.outputs();
  given.present(op.in);
  const std::int64_t rows = op.in.shape().rows();
  given.matrix(op.in, rows, inner);
  given.matrix(op.out, rows, columns);
  if (op.bias) given.shaped(op.bias, {columns});
}

}  // namespace

void MatmulForward::check(const Arguments& given) const {
  check_product(given, *this);
  if (weight.scales) given.absent(pre_activation, "for a quantised weight");
  if (pre_activation) given.matrix(pre_activation, in.shape().rows(), weight.outputs());
}

void FusedProduct::check(const Arguments& given) const {
  check_product(given, *this);
  if (norm_weight) {
    given.vector(norm_weight, in.shape()[-1]);
  } else {
    given.absent(norm_bias, "without a norm");
  }
  if (norm_bias) given.vector(norm_bias, in.shape()[-1]);
}

void MatmulBackwardInput::check(const Arguments& given) const {
  check_plain_activation(given, activation);
  given.rank(weight, 2);
  given.present(dout);
  const std::int64_t rows = dout.shape().rows();
  given.matrix(dout, rows, weight.shape()[0]);
  given.matrix(din, rows, weight.shape()[1]);
  if (activation == Activation::none) {
    given.absent(pre_activation, "without an activation");
  } else {
    given.matrix(pre_activation, rows, weight.shape()[1]);
  }
}

void MatmulBackwardWeight::check(const Arguments& given) const {
  given.rank(dweight, 2);
  given.present(dout);
  const std::int64_t rows = dout.shape().rows();
  given.matrix(dout, rows, dweight.shape()[0]);
  given.matrix(in, rows, dweight.shape()[1]);
  if (dbias) given.shaped(dbias, {dweight.shape()[0]});
}

}  // namespace mslt
