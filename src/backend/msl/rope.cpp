// Rotary position embedding as an MSL kernel.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/rope_args.h"

namespace mslt {
namespace {

// As in kernels/rope.metal: angles per threadgroup. Then its threads, and the desired spans per thread.
constexpr std::int64_t rope_angles = 512;
constexpr std::uint32_t rope_threads = 128;
constexpr std::int64_t spans_a_thread = 4;
constexpr std::int64_t most_group_spans = 32;

RopeArgs rope_args(const Rope& op) {
  const std::int64_t columns = op.qkv.shape()[2];
  const std::int64_t pairs = op.inverse_frequencies.elements();
  const bool whole = columns % msl::span_width == 0 && op.shape.head_size % msl::span_width == 0;
  const std::int64_t heads = std::int64_t{op.shape.heads} + op.shape.kv_heads;
  const std::int64_t group_spans = std::min<std::int64_t>(msl::group_count(pairs, msl::span_width), most_group_spans);
  const std::int64_t group_rows =
      std::clamp<std::int64_t>(spans_a_thread * rope_threads / std::max<std::int64_t>(heads * group_spans, 1), 1,
                               rope_angles / (group_spans * msl::span_width));
  return {.rows = msl::count32(op.qkv.shape().rows(), "rope"),
          .steps = msl::count32(op.qkv.shape()[1], "rope"),
          .columns = msl::count32(columns, "rope"),
          .heads = msl::count32(heads, "rope"),
          .head_size = static_cast<std::uint32_t>(op.shape.head_size),
          .pairs = msl::count32(pairs, "rope"),
          .group_rows = static_cast<std::uint32_t>(group_rows),
          .group_spans = static_cast<std::uint32_t>(group_spans),
          .aligned = whole ? msl::aligned_rows(pairs, op.qkv) : 0u,
          .has_first = op.positions.first ? 1u : 0u,
          .direction = op.backward ? -1.0f : 1.0f,
          .scale = op.scale};
}

msl::GridSize rope_groups(const RopeArgs& args) {
  const std::int64_t spans = msl::group_count(args.pairs, msl::span_width);
  return {msl::group_count(args.rows, args.group_rows), msl::group_count(spans, args.group_spans), 1};
}

}  // namespace

void MslBackend::execute(const Rope& op) {
  if (op.qkv.elements() == 0) return;
  const RopeArgs args = rope_args(op);
  encode(msl::kernel_name("rope", op.qkv.dtype()))
      .buffer(0, op.qkv)
      .buffer(1, op.inverse_frequencies)
      .optional(2, op.positions.first)
      .bytes(3, args)
      .dispatch(rope_groups(args), {rope_threads});
}

}  // namespace mslt
