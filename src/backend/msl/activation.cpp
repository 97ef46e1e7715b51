// Activations as MSL kernels.
#include <fmt/format.h>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/activation_args.h"

namespace mslt {
namespace {

ActivationArgs elementwise_args(const Tensor& in, const Tensor& out, const Tensor& gradient) {
  return {.count = static_cast<std::uint64_t>(in.elements()),
          .aligned = msl::aligned_rows(msl::span_width, in, out, gradient),
          .reserved = 0};
}

SwigluArgs gated_args(const Tensor& narrow, const Tensor& in, const Tensor& wide) {
  const std::int64_t columns = narrow.shape()[-1];
  return {.rows = msl::count32(narrow.shape().rows(), "swiglu"),
          .columns = msl::count32(columns, "swiglu"),
          .aligned = msl::aligned_rows(columns, narrow, in, wide)};
}

// Of an elementwise activation's kernel.
std::string_view stem_of(Activation activation) {
  if (activation == Activation::gelu) return "gelu";
  return activation == Activation::gelu_erf ? "gelu_erf" : "relu";
}

}  // namespace

void MslBackend::activation_forward(Activation activation, const Tensor& out, const Tensor& in) {
  check_activation_forward(activation, out, in);
  if (out.elements() == 0) return;
  if (activation == Activation::swiglu) {
    const SwigluArgs args = gated_args(out, in, {});
    encode(msl::kernel_name("swiglu_forward", in.dtype()))
        .buffer(0, out)
        .buffer(1, in)
        .bytes(2, args)
        .work(6.0 * static_cast<double>(out.elements()))
        .dispatch_tiles(args.rows, args.columns, tuning_.tile_threads);
    return;
  }
  encode(msl::kernel_name(fmt::format("{}_forward", stem_of(activation)), in.dtype()))
      .buffer(0, out)
      .buffer(1, in)
      .bytes(2, elementwise_args(in, out, {}))
      .work(10.0 * static_cast<double>(out.elements()))
      .dispatch_spans(in.elements(), tuning_.span_threads);
}

void MslBackend::activation_backward(Activation activation, const Tensor& din, const Tensor& dout, const Tensor& in) {
  check_activation_backward(activation, din, dout, in);
  if (dout.elements() == 0) return;
  if (activation == Activation::swiglu) {
    const SwigluArgs args = gated_args(dout, in, din);
    encode(msl::kernel_name("swiglu_backward", in.dtype()))
        .buffer(0, din)
        .buffer(1, dout)
        .buffer(2, in)
        .bytes(3, args)
        .in_place(0, 2)
        .work(14.0 * static_cast<double>(dout.elements()))
        .dispatch_tiles(args.rows, args.columns, tuning_.tile_threads);
    return;
  }
  encode(msl::kernel_name(fmt::format("{}_backward", stem_of(activation)), in.dtype()))
      .buffer(0, din)
      .buffer(1, dout)
      .buffer(2, in)
      .bytes(3, elementwise_args(in, din, dout))
      .in_place(0, 1)
      .work(20.0 * static_cast<double>(dout.elements()))
      .dispatch_spans(in.elements(), tuning_.span_threads);
}

}  // namespace mslt
