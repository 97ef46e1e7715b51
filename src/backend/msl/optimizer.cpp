// The gradients' norm and AdamW as MSL kernels.
#include <algorithm>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/optimizer_args.h"

namespace mslt {
namespace {

// Elements of a norm's group before more groups are taken.
constexpr std::int64_t summed_a_group = 16384;

}  // namespace

void MslBackend::global_norm(const Tensor& out, const Tensor& gradients, bool accumulate) {
  check_global_norm(out, gradients);
  const std::int64_t n = gradients.elements();
  const std::int64_t groups =
      std::clamp<std::int64_t>((n + summed_a_group - 1) / summed_a_group, 1, tuning_.reduce_groups);
  const msl::Scratch squares = scratch(DType::f32, {3, groups});
  const NormSquaresArgs square_args = {
      .count = static_cast<std::uint64_t>(n), .aligned = msl::aligned_rows(msl::span_width, gradients), .reserved = 0};
  encode(msl::kernel_name("norm_squares", gradients.dtype()))
      .buffer(0, squares)
      .optional(1, n == 0 ? Tensor() : gradients)
      .bytes(2, square_args)
      .work(2.0 * static_cast<double>(n))
      .dispatch({msl::group_count(groups, 1)}, {static_cast<std::uint32_t>(tuning_.reduce_threads)});
  const NormRootArgs root_args = {.groups = msl::count32(groups, "global_norm"), .accumulate = accumulate ? 1u : 0u};
  encode("norm_root_f32")
      .buffer(0, out)
      .buffer(1, squares)
      .bytes(2, root_args)
      .dispatch({1}, {msl::row_threads(groups, 1, tuning_.reduce_threads)});
}

void MslBackend::adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment,
                       const Tensor& second_moment, const Tensor& master, const Tensor& state, const Tensor& norm,
                       const AdamWConfig& config) {
  check_adamw(parameters, gradients, first_moment, second_moment, master, state, norm, config);
  if (parameters.elements() == 0) return;
  const AdamWArgs args = {
      .count = static_cast<std::uint64_t>(parameters.elements()),
      .aligned = msl::aligned_rows(msl::span_width, parameters, gradients, first_moment, second_moment, master),
      .beta1 = config.beta1,
      .beta2 = config.beta2,
      .epsilon = config.epsilon,
      .weight_decay = config.weight_decay,
      .reserved = 0};
  if (master) {
    encode(msl::kernel_name("adamw_master", parameters.dtype()))
        .buffer(0, parameters)
        .buffer(1, gradients)
        .buffer(2, first_moment)
        .buffer(3, second_moment)
        .buffer(4, master)
        .buffer(5, state)
        .buffer(6, norm)
        .bytes(7, args)
        .work(15.0 * static_cast<double>(parameters.elements()), 3 * master.bytes())
        .dispatch_spans(parameters.elements(), tuning_.adamw_threads);
    return;
  }
  encode(msl::kernel_name("adamw", parameters.dtype()))
      .buffer(0, parameters)
      .buffer(1, gradients)
      .buffer(2, first_moment)
      .buffer(3, second_moment)
      .buffer(4, state)
      .buffer(5, norm)
      .bytes(6, args)
      .work(15.0 * static_cast<double>(parameters.elements()),
            parameters.bytes() + first_moment.bytes() + second_moment.bytes())
      .dispatch_spans(parameters.elements(), tuning_.adamw_threads);
}

}  // namespace mslt
