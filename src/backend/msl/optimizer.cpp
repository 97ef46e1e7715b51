// The gradients' norm and AdamW as MSL kernels.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/optimizer_args.h"

namespace mslt {
namespace {

// Elements per group of a norm before more groups are used.
constexpr std::int64_t summed_a_group = 16384;

}  // namespace

void MslBackend::execute(const GlobalNorm& op) {
  const std::int64_t n = op.gradients.elements();
  const std::int64_t groups =
      std::clamp<std::int64_t>((n + summed_a_group - 1) / summed_a_group, 1, tuning_.reduce_groups);
  const msl::Scratch squares = scratch(DType::f32, {3, groups});
  const NormSquaresArgs square_args = {.count = static_cast<std::uint64_t>(n),
                                       .aligned = msl::aligned_rows(msl::span_width, op.gradients),
                                       .reserved = 0};
  encode(msl::kernel_name("norm_squares", op.gradients.dtype()))
      .buffer(0, squares)
      .optional(1, n == 0 ? Tensor() : op.gradients)
      .bytes(2, square_args)
      .work(2.0 * static_cast<double>(n))
      .dispatch({msl::group_count(groups, 1)}, {static_cast<std::uint32_t>(tuning_.reduce_threads)});
  const NormRootArgs root_args = {.groups = msl::count32(groups, "global_norm"), .accumulate = op.accumulate ? 1u : 0u};
  encode("norm_root_f32")
      .buffer(0, op.out)
      .buffer(1, squares)
      .bytes(2, root_args)
      .dispatch({1}, {msl::row_threads(groups, 1, tuning_.reduce_threads)});
}

void MslBackend::execute(const AdamWUpdate& op) {
  if (op.parameters.elements() == 0) return;
  const AdamWArgs args = {.count = static_cast<std::uint64_t>(op.parameters.elements()),
                          .aligned = msl::aligned_rows(msl::span_width, op.parameters, op.gradients, op.first_moment,
                                                       op.second_moment, op.master),
                          .beta1 = op.config.beta1,
                          .beta2 = op.config.beta2,
                          .epsilon = op.config.epsilon,
                          .weight_decay = op.config.weight_decay,
                          .operation = op.operation,
                          .first_block = static_cast<std::uint64_t>(op.first) / msl::span_width};
  const std::string_view step = op.master ? "adamw_master" : op.random_state ? "adamw_stochastic" : "adamw";
  const DType dtype = op.parameters.dtype();
  msl::Encoder encoder = encode(op.gradients.dtype() == dtype ? msl::kernel_name(step, dtype)
                                                              : msl::kernel_name(step, dtype, op.gradients.dtype()));
  encoder.buffer(0, op.parameters)
      .buffer(1, op.gradients)
      .buffer(2, op.first_moment)
      .buffer(3, op.second_moment)
      .buffer(4, op.state)
      .buffer(5, op.norm)
      .bytes(6, args);
  if (op.master) encoder.buffer(7, op.master);
  if (op.random_state) encoder.buffer(7, op.random_state);
  encoder
      .work(15.0 * static_cast<double>(op.parameters.elements()),
            (op.master ? op.master : op.parameters).bytes() + op.first_moment.bytes() + op.second_moment.bytes())
      .dispatch_spans(op.parameters.elements(), tuning_.adamw_threads);
}

}  // namespace mslt
