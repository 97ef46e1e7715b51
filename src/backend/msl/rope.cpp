// Rotary position embedding as an MSL kernel.
#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/rope_args.h"

namespace mslt {
namespace {

RopeArgs rope_args(const Tensor& qkv, const Positions& positions, const AttentionShape& shape, float direction) {
  const std::int64_t columns = qkv.shape()[2];
  const std::int64_t half = shape.head_size / 2;
  const bool whole = columns % msl::span_width == 0;
  return {.rows = msl::count32(qkv.shape().rows(), "rope"),
          .steps = msl::count32(qkv.shape()[1], "rope"),
          .columns = msl::count32(columns, "rope"),
          .heads = msl::count32(std::int64_t{shape.heads} + shape.kv_heads, "rope"),
          .half_size = msl::count32(half, "rope"),
          .aligned = whole ? msl::aligned_rows(half, qkv) : 0u,
          .has_first = positions.first ? 1u : 0u,
          .direction = direction};
}

}  // namespace

void MslBackend::rope_forward(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                              const AttentionShape& shape) {
  check_rope(qkv, inverse_frequencies, positions, shape);
  if (qkv.elements() == 0) return;
  const RopeArgs args = rope_args(qkv, positions, shape, 1.0f);
  const msl::Launch launch = msl::tile_launch(args.rows, args.half_size);
  encode(msl::kernel_name("rope", qkv.dtype()))
      .buffer(0, qkv)
      .buffer(1, inverse_frequencies)
      .optional(2, positions.first)
      .bytes(3, args)
      .dispatch(launch.groups, launch.threads);
}

void MslBackend::rope_backward(const Tensor& dqkv, const Tensor& inverse_frequencies, const Positions& positions,
                               const AttentionShape& shape) {
  check_rope(dqkv, inverse_frequencies, positions, shape);
  if (dqkv.elements() == 0) return;
  const RopeArgs args = rope_args(dqkv, positions, shape, -1.0f);
  const msl::Launch launch = msl::tile_launch(args.rows, args.half_size);
  encode(msl::kernel_name("rope", dqkv.dtype()))
      .buffer(0, dqkv)
      .buffer(1, inverse_frequencies)
      .optional(2, positions.first)
      .bytes(3, args)
      .dispatch(launch.groups, launch.threads);
}

}  // namespace mslt
