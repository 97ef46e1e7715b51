// Argument checks of the matrix products.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {
namespace {

constexpr std::int64_t quantised_group = 32;

void check_plain_activation(const Arguments& arguments, Activation activation) {
  arguments.require(
      activation != Activation::swiglu,
      "the activation is swiglu, but must be none, gelu, gelu_erf or relu: swiglu is an operation of its own.");
}

// A bias of a plain weight [out, in].
void check_bias(const Arguments& arguments, const Tensor& bias, const Tensor& weight, std::string_view weight_name) {
  if (!bias) return;
  arguments.shaped(bias, "bias", Elements::floating, {weight.shape()[0]});
  arguments.same_dtype(bias, "bias", weight, weight_name);
}

}  // namespace

void check_matmul_forward(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor& bias,
                          Activation activation, const Tensor& pre_activation) {
  const Arguments arguments("matmul_forward");
  check_plain_activation(arguments, activation);
  arguments.rank(weight, "weight", Elements::floating, 2);
  arguments.present(in, "in");
  const std::int64_t rows = in.shape().rows();
  const std::int64_t columns = weight.shape()[0];
  arguments.matrix(in, "in", Elements::floating, rows, weight.shape()[1]);
  arguments.matrix(out, "out", Elements::floating, rows, columns);
  arguments.same_dtype(out, "out", in, "in");
  arguments.kept_dtype(weight, "weight", in, "in");
  arguments.apart(out, "out", in, "in");
  arguments.apart(out, "out", weight, "weight");
  check_bias(arguments, bias, weight, "weight");
  if (!pre_activation) return;
  arguments.matrix(pre_activation, "pre_activation", Elements::floating, rows, columns);
  arguments.same_dtype(pre_activation, "pre_activation", in, "in");
  arguments.apart(pre_activation, "pre_activation", out, "out");
  arguments.apart(pre_activation, "pre_activation", in, "in");
  arguments.apart(pre_activation, "pre_activation", weight, "weight");
}

void check_matmul_backward_input(const Tensor& din, const Tensor& dout, const Tensor& weight, Activation activation,
                                 const Tensor& pre_activation) {
  const Arguments arguments("matmul_backward_input");
  check_plain_activation(arguments, activation);
  arguments.rank(weight, "weight", Elements::floating, 2);
  arguments.present(dout, "dout");
  const std::int64_t rows = dout.shape().rows();
  arguments.matrix(dout, "dout", Elements::floating, rows, weight.shape()[0]);
  arguments.matrix(din, "din", Elements::floating, rows, weight.shape()[1]);
  arguments.same_dtype(din, "din", dout, "dout");
  arguments.same_dtype(weight, "weight", dout, "dout");
  arguments.apart(din, "din", dout, "dout");
  arguments.apart(din, "din", weight, "weight");
  if (activation == Activation::none) {
    arguments.absent(pre_activation, "pre_activation", "without an activation");
    return;
  }
  arguments.matrix(pre_activation, "pre_activation", Elements::floating, rows, weight.shape()[1]);
  arguments.same_dtype(pre_activation, "pre_activation", dout, "dout");
  arguments.apart(din, "din", pre_activation, "pre_activation");
}

void check_matmul_backward_weight(const Tensor& dweight, const Tensor& dbias, const Tensor& dout, const Tensor& in) {
  const Arguments arguments("matmul_backward_weight");
  arguments.rank(dweight, "dweight", Elements::floating, 2);
  arguments.present(dout, "dout");
  const std::int64_t rows = dout.shape().rows();
  arguments.matrix(dout, "dout", Elements::floating, rows, dweight.shape()[0]);
  arguments.matrix(in, "in", Elements::floating, rows, dweight.shape()[1]);
  arguments.same_dtype(in, "in", dout, "dout");
  arguments.same_dtype(dweight, "dweight", dout, "dout");
  arguments.apart(dweight, "dweight", dout, "dout");
  arguments.apart(dweight, "dweight", in, "in");
  if (!dbias) return;
  arguments.shaped(dbias, "dbias", Elements::floating, {dweight.shape()[0]});
  arguments.same_dtype(dbias, "dbias", dout, "dout");
  arguments.apart(dbias, "dbias", dout, "dout");
  arguments.apart(dbias, "dbias", in, "in");
  arguments.apart(dbias, "dbias", dweight, "dweight");
}

void check_matvec(const Tensor& out, const Tensor& in, const Weight& weight, const Tensor& bias) {
  const Arguments arguments("matvec");
  const Tensor& values = weight.values;
  arguments.present(values, "weight.values");
  arguments.require(values.shape().rank() == 2, "weight.values is {}, but must have 2 dimensions.", values.describe());
  const bool nibbles = values.dtype() == DType::u8;
  const bool quantised = nibbles || values.dtype() == DType::i8;
  arguments.require(quantised || is_floating(values.dtype()),
                    "weight.values is {}, but must be f32, bf16, f16, i8 or u8.", values.describe());
  const std::int64_t columns = values.shape()[0];
  const std::int64_t inner = values.shape()[1] * (nibbles ? 2 : 1);
  if (quantised) {
    arguments.require(inner % quantised_group == 0,
                      "weight.values is {}, rows of {} weights, but their number must be a multiple of {}.",
                      values.describe(), inner, quantised_group);
    arguments.shaped(weight.scales, "weight.scales", Elements::f16, {columns, inner / quantised_group});
  } else {
    arguments.absent(weight.scales, "weight.scales", "for a plain weight");
  }
  arguments.present(in, "in");
  arguments.matrix(in, "in", Elements::floating, in.shape().rows(), inner);
  arguments.matrix(out, "out", Elements::floating, in.shape().rows(), columns);
  arguments.same_dtype(out, "out", in, "in");
  arguments.apart(out, "out", in, "in");
  arguments.apart(out, "out", values, "weight.values");
  if (!quantised) {
    arguments.kept_dtype(values, "weight.values", in, "in");
    check_bias(arguments, bias, values, "weight.values");
  } else if (bias) {
    arguments.shaped(bias, "bias", Elements::floating, {columns});
    arguments.kept_dtype(bias, "bias", in, "in");
  }
}

}  // namespace mslt
