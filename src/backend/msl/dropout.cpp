// Dropout as an MSL kernel.
#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/dropout_args.h"

namespace mslt {

void MslBackend::dropout_forward(const Tensor& out, const Tensor& in, const Dropout& dropout) {
  check_dropout(out, in, dropout);
  if (in.elements() == 0) return;
  const DropoutArgs args = {.count = static_cast<std::uint64_t>(in.elements()),
                            .aligned = msl::aligned_rows(msl::span_width, out, in),
                            .operation = dropout.operation,
                            .probability = dropout.probability,
                            .scale = 1.0f / (1.0f - dropout.probability)};
  // A thread has two spans.
  encode(msl::kernel_name("dropout", in.dtype()))
      .buffer(0, out)
      .buffer(1, in)
      .optional(2, dropout.random_state)
      .bytes(3, args)
      .in_place(0, 1)
      .dispatch_spans((in.elements() + 1) / 2, tuning_.span_threads);
}

void MslBackend::dropout_backward(const Tensor& din, const Tensor& dout, const Dropout& dropout) {
  dropout_forward(din, dout, dropout);
}

}  // namespace mslt
