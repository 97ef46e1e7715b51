// Cross entropy and sums as MSL kernels.
#include <algorithm>

#include "backend/checks.h"
#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/loss_args.h"

namespace mslt {
namespace {

// Elements of a sum's group before more groups are taken.
constexpr std::int64_t elements_a_group = 8192;

}  // namespace

void MslBackend::cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets, std::int64_t vocab,
                               const Tensor& loss_scale) {
  check_cross_entropy(losses, logits, targets, vocab, loss_scale);
  if (losses.elements() == 0) return;
  const std::int64_t columns = logits.shape()[-1];
  const CrossEntropyArgs args = {.columns = msl::count32(columns, "cross_entropy"),
                                 .vocab = msl::count32(vocab, "cross_entropy"),
                                 .aligned = msl::aligned_rows(columns, logits),
                                 .backward = loss_scale ? 1u : 0u};
  encode(msl::kernel_name("cross_entropy", logits.dtype()))
      .buffer(0, losses)
      .buffer(1, logits)
      .buffer(2, targets)
      .optional(3, loss_scale)
      .bytes(4, args)
      .work(8.0 * static_cast<double>(logits.shape().rows()) * static_cast<double>(vocab),
            loss_scale ? logits.bytes() : 0)
      .dispatch({msl::group_count(logits.shape().rows(), 1)},
                {msl::row_threads(columns, tuning_.loss_logits_a_thread,
                                  logits.dtype() == DType::f32 ? tuning_.loss_threads_f32 : tuning_.loss_threads)});
}

void MslBackend::sum(const Tensor& out, const Tensor& in, bool accumulate) {
  check_sum(out, in);
  const std::int64_t n = in.elements();
  const std::int64_t groups =
      std::clamp<std::int64_t>((n + elements_a_group - 1) / elements_a_group, 1, tuning_.reduce_groups);
  const auto add_up = [&](const Tensor& to, const Tensor& from, std::int64_t count, std::int64_t into, bool add) {
    const SumArgs args = {.count = static_cast<std::uint64_t>(count),
                          .accumulate = add ? 1u : 0u,
                          .aligned = msl::aligned_rows(msl::span_width, from)};
    encode("sum_f32")
        .buffer(0, to)
        .optional(1, count == 0 ? Tensor() : from)
        .bytes(2, args)
        .dispatch({msl::group_count(into, 1)}, {static_cast<std::uint32_t>(tuning_.reduce_threads)});
  };
  if (groups == 1) {
    add_up(out, in, n, 1, accumulate);
    return;
  }
  const msl::Scratch partial = scratch(DType::f32, {groups});
  add_up(partial, in, n, groups, false);
  add_up(out, partial, groups, 1, accumulate);
}

}  // namespace mslt
