// Activations as MSL kernels.
#include <fmt/format.h>

#include <array>

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

GatedArgs gated_args(const Tensor& narrow, const Tensor& in, const Tensor& wide) {
  const std::int64_t columns = narrow.shape()[-1];
  return {.rows = msl::count32(narrow.shape().rows(), "gated activation"),
          .columns = msl::count32(columns, "gated activation"),
          .aligned = msl::aligned_rows(columns, narrow, in, wide)};
}

// Of the activation's kernels.
std::string_view stem_of(Activation activation) {
  constexpr std::array<std::string_view, 6> stems = {"", "gelu", "gelu_erf", "relu", "swiglu", "geglu"};
  return stems[static_cast<std::size_t>(activation)];
}

}  // namespace

void MslBackend::execute(const ActivationForward& op) {
  if (op.out.elements() == 0) return;
  if (is_gated(op.activation)) {
    const GatedArgs args = gated_args(op.out, op.in, {});
    encode(msl::kernel_name(fmt::format("{}_forward", stem_of(op.activation)), op.in.dtype()))
        .buffer(0, op.out)
        .buffer(1, op.in)
        .bytes(2, args)
        .work(6.0 * static_cast<double>(op.out.elements()))
        .dispatch_tiles(args.rows, args.columns, tuning_.tile_threads);
    return;
  }
  encode(msl::kernel_name(fmt::format("{}_forward", stem_of(op.activation)), op.in.dtype()))
      .buffer(0, op.out)
      .buffer(1, op.in)
      .bytes(2, elementwise_args(op.in, op.out, {}))
      .work(10.0 * static_cast<double>(op.out.elements()))
      .dispatch_spans(op.in.elements(), tuning_.span_threads);
}

void MslBackend::execute(const ActivationBackward& op) {
  if (op.dout.elements() == 0) return;
  if (is_gated(op.activation)) {
    const GatedArgs args = gated_args(op.dout, op.in, op.din);
    encode(msl::kernel_name(fmt::format("{}_backward", stem_of(op.activation)), op.in.dtype()))
        .buffer(0, op.din)
        .buffer(1, op.dout)
        .buffer(2, op.in)
        .bytes(3, args)
        .in_place(0, 2)
        .work(14.0 * static_cast<double>(op.dout.elements()))
        .dispatch_tiles(args.rows, args.columns, tuning_.tile_threads);
    return;
  }
  encode(msl::kernel_name(fmt::format("{}_backward", stem_of(op.activation)), op.in.dtype()))
      .buffer(0, op.din)
      .buffer(1, op.dout)
      .buffer(2, op.in)
      .bytes(3, elementwise_args(op.in, op.din, op.dout))
      .in_place(0, 1)
      .work(20.0 * static_cast<double>(op.dout.elements()))
      .dispatch_spans(op.in.elements(), tuning_.span_threads);
}

}  // namespace mslt
