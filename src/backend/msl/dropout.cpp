// Dropout as an MSL kernel.
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/dropout_args.h"

namespace mslt {

void MslBackend::execute(const DropElements& op) {
  if (op.in.elements() == 0) return;
  const DropoutArgs args = {.count = static_cast<std::uint64_t>(op.in.elements()),
                            .aligned = msl::aligned_rows(msl::span_width, op.out, op.in),
                            .operation = op.dropout.operation,
                            .probability = op.dropout.probability,
                            .scale = 1.0f / (1.0f - op.dropout.probability)};
  // A thread handles two spans.
  encode(msl::kernel_name("dropout", op.in.dtype()))
      .buffer(0, op.out)
      .buffer(1, op.in)
      .optional(2, op.dropout.random_state)
      .bytes(3, args)
      .in_place(0, 1)
      .dispatch_spans((op.in.elements() + 1) / 2, tuning_.span_threads);
}

}  // namespace mslt
