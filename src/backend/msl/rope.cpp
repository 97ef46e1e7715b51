// Rotary position embedding as an MSL kernel.
#include <algorithm>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/rope_args.h"

namespace mslt {
namespace {

// As in kernels/rope.metal: angles of a threadgroup. Then its threads, and the spans that each should have.
constexpr std::int64_t rope_angles = 512;
constexpr std::uint32_t rope_threads = 128;
constexpr std::int64_t spans_a_thread = 4;
constexpr std::int64_t most_group_spans = 32;

RopeArgs rope_args(const Tensor& qkv, const Positions& positions, const AttentionShape& shape, float direction) {
  const std::int64_t columns = qkv.shape()[2];
  const std::int64_t half = shape.head_size / 2;
  const bool whole = columns % msl::span_width == 0;
  const std::int64_t heads = std::int64_t{shape.heads} + shape.kv_heads;
  const std::int64_t group_spans = std::min<std::int64_t>(msl::group_count(half, msl::span_width), most_group_spans);
  const std::int64_t group_rows =
      std::clamp<std::int64_t>(spans_a_thread * rope_threads / std::max<std::int64_t>(heads * group_spans, 1), 1,
                               rope_angles / (group_spans * msl::span_width));
  return {.rows = msl::count32(qkv.shape().rows(), "rope"),
          .steps = msl::count32(qkv.shape()[1], "rope"),
          .columns = msl::count32(columns, "rope"),
          .heads = msl::count32(heads, "rope"),
          .half_size = msl::count32(half, "rope"),
          .group_rows = static_cast<std::uint32_t>(group_rows),
          .group_spans = static_cast<std::uint32_t>(group_spans),
          .aligned = whole ? msl::aligned_rows(half, qkv) : 0u,
          .has_first = positions.first ? 1u : 0u,
          .direction = direction};
}

msl::GridSize rope_groups(const RopeArgs& args) {
  const std::int64_t spans = msl::group_count(args.half_size, msl::span_width);
  return {msl::group_count(args.rows, args.group_rows), msl::group_count(spans, args.group_spans), 1};
}

}  // namespace

void MslBackend::rope_forward(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                              const AttentionShape& shape) {
  check_rope(qkv, inverse_frequencies, positions, shape);
  if (qkv.elements() == 0) return;
  const RopeArgs args = rope_args(qkv, positions, shape, 1.0f);
  encode(msl::kernel_name("rope", qkv.dtype()))
      .buffer(0, qkv)
      .buffer(1, inverse_frequencies)
      .optional(2, positions.first)
      .bytes(3, args)
      .dispatch(rope_groups(args), {rope_threads});
}

void MslBackend::rope_backward(const Tensor& dqkv, const Tensor& inverse_frequencies, const Positions& positions,
                               const AttentionShape& shape) {
  check_rope(dqkv, inverse_frequencies, positions, shape);
  if (dqkv.elements() == 0) return;
  const RopeArgs args = rope_args(dqkv, positions, shape, -1.0f);
  encode(msl::kernel_name("rope", dqkv.dtype()))
      .buffer(0, dqkv)
      .buffer(1, inverse_frequencies)
      .optional(2, positions.first)
      .bytes(3, args)
      .dispatch(rope_groups(args), {rope_threads});
}

}  // namespace mslt
