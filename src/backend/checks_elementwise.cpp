// Argument checks of activations, dropout, loss and optimiser.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {
namespace {

// `narrow` has the activation's outputs; `wide` its inputs, twice as many a row for swiglu.
void check_widths(const Arguments& arguments, Activation activation, const Tensor& narrow, std::string_view narrow_name,
                  const Tensor& wide) {
  arguments.require(activation != Activation::none,
                    "the activation is none, but must be gelu, gelu_erf, relu or swiglu.");
  arguments.elements(narrow, narrow_name, Elements::floating);
  arguments.require(narrow.shape().rank() >= 1, "{} is {}, but must have at least 1 dimension.", narrow_name,
                    narrow.describe());
  const std::int64_t columns = narrow.shape()[-1];
  arguments.matrix(wide, "in", Elements::floating, narrow.shape().rows(),
                   activation == Activation::swiglu ? 2 * columns : columns);
  arguments.same_dtype(wide, "in", narrow, narrow_name);
}

void check_coefficient(const Arguments& arguments, float value, std::string_view name) {
  arguments.require(value >= 0.0f && value < 1.0f, "{} is {}, but must be in [0, 1).", name, value);
}

}  // namespace

void check_activation_forward(Activation activation, const Tensor& out, const Tensor& in) {
  const Arguments arguments("activation_forward");
  check_widths(arguments, activation, out, "out", in);
  arguments.apart(out, "out", in, "in");
}

void check_activation_backward(Activation activation, const Tensor& din, const Tensor& dout, const Tensor& in) {
  const Arguments arguments("activation_backward");
  check_widths(arguments, activation, dout, "dout", in);
  arguments.matrix(din, "din", Elements::floating, in.shape().rows(), in.shape()[-1]);
  arguments.same_dtype(din, "din", in, "in");
  if (activation == Activation::swiglu) {
    arguments.apart(din, "din", dout, "dout");
    arguments.apart_or_same(din, "din", in, "in");
  } else {
    arguments.apart_or_same(din, "din", dout, "dout");
    arguments.apart(din, "din", in, "in");
  }
}

void check_dropout(const Tensor& out, const Tensor& in, const Dropout& dropout) {
  const Arguments arguments("dropout");
  arguments.elements(in, "in", Elements::floating);
  arguments.vector(out, "out", Elements::floating, in.elements());
  arguments.same_dtype(out, "out", in, "in");
  arguments.apart_or_same(out, "out", in, "in");
  arguments.dropout(dropout);
}

void check_cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets, std::int64_t vocab,
                         const Tensor& loss_scale) {
  const Arguments arguments("cross_entropy");
  arguments.elements(logits, "logits", Elements::floating);
  arguments.require(logits.shape().rank() >= 1 && vocab >= 1 && vocab <= logits.shape()[-1],
                    "vocab is {}, but must be in 1…the number of columns of logits, {}.", vocab, logits.describe());
  arguments.vector(losses, "losses", Elements::f32, logits.shape().rows());
  arguments.vector(targets, "targets", Elements::i32, logits.shape().rows());
  if (loss_scale) arguments.vector(loss_scale, "loss_scale", Elements::f32, 1);
  arguments.apart(losses, "losses", logits, "logits");
}

void check_sum(const Tensor& out, const Tensor& in) {
  const Arguments arguments("sum");
  arguments.elements(in, "in", Elements::f32);
  arguments.vector(out, "out", Elements::f32, 1);
}

void check_global_norm(const Tensor& out, const Tensor& gradients) {
  const Arguments arguments("global_norm");
  arguments.elements(gradients, "gradients", Elements::floating);
  arguments.vector(out, "out", Elements::f32, 1);
}

void check_adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment,
                 const Tensor& second_moment, const Tensor& master, const Tensor& state, const Tensor& norm,
                 const AdamWConfig& config) {
  const Arguments arguments("adamw");
  arguments.elements(parameters, "parameters", Elements::floating);
  const std::int64_t n = parameters.elements();
  arguments.vector(gradients, "gradients", Elements::floating, n);
  arguments.same_dtype(gradients, "gradients", parameters, "parameters");
  arguments.vector(first_moment, "first_moment", Elements::f32, n);
  arguments.vector(second_moment, "second_moment", Elements::f32, n);
  arguments.apart(first_moment, "first_moment", second_moment, "second_moment");
  arguments.apart(parameters, "parameters", gradients, "gradients");
  if (parameters.dtype() == DType::f32) {
    arguments.absent(master, "master", "beside f32 parameters");
  } else if (master) {
    arguments.vector(master, "master", Elements::f32, n);
    arguments.apart(master, "master", parameters, "parameters");
  }
  arguments.vector(state, "state", Elements::f32, adamw_state_size);
  arguments.vector(norm, "norm", Elements::f32, 1);
  check_coefficient(arguments, config.beta1, "beta1");
  check_coefficient(arguments, config.beta2, "beta2");
  arguments.require(config.epsilon >= 0.0f, "epsilon is {}, but must be at least 0.", config.epsilon);
  arguments.require(config.weight_decay >= 0.0f, "weight_decay is {}, but must be at least 0.", config.weight_decay);
}

}  // namespace mslt
