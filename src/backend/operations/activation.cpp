// Checks of activations and dropout.
#include "backend/operations/activation.h"

#include "backend/operations/checks.h"

namespace mslt {
namespace {

// `narrow` has the activation's outputs; `wide` its inputs, twice as many a row for gated ones.
void check_widths(const Arguments& given, Activation activation, const Tensor& narrow, const Tensor& wide) {
  given.require(activation != Activation::none,
                "the activation is none, but must be gelu, gelu_erf, relu, swiglu or geglu.");
  given.rows(narrow);
  const std::int64_t columns = narrow.shape()[-1];
  given.matrix(wide, narrow.shape().rows(), is_gated(activation) ? 2 * columns : columns);
}

}  // namespace

void ActivationForward::check(const Arguments& given) const {
  check_widths(given, activation, out, in);
}

void ActivationBackward::check(const Arguments& given) const {
  check_widths(given, activation, dout, in);
  given.matrix(din, in.shape().rows(), in.shape()[-1]);
}

void DropElements::check(const Arguments& given) const {
  given.elements(in);
  given.vector(out, in.elements());
  check_dropout(given, dropout);
}

}  // namespace mslt
