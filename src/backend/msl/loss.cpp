// Cross entropy, soft caps and sums as MSL kernels.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/loss_args.h"

namespace mslt {
namespace {

// Elements per group of a sum before more groups are used.
constexpr std::int64_t elements_a_group = 8192;

}  // namespace

void MslBackend::execute(const SoftCap& op) {
  if (op.in.elements() == 0) return;
  const SoftCapArgs args = {.count = static_cast<std::uint64_t>(op.in.elements()),
                            .aligned = msl::aligned_rows(msl::span_width, op.in, op.out),
                            .cap = op.cap};
  encode(msl::kernel_name("soft_cap", op.in.dtype()))
      .buffer(0, op.out)
      .buffer(1, op.in)
      .bytes(2, args)
      .in_place(0, 1)
      .work(10.0 * static_cast<double>(op.in.elements()))
      .dispatch_spans(op.in.elements(), tuning_.span_threads);
}

void MslBackend::execute(const CrossEntropy& op) {
  if (op.losses.elements() == 0) return;
  const std::int64_t columns = op.logits.shape()[-1];
  const CrossEntropyArgs args = {.columns = msl::count32(columns, "cross_entropy"),
                                 .vocab = msl::count32(op.vocab, "cross_entropy"),
                                 .aligned = msl::aligned_rows(columns, op.logits),
                                 .backward = op.loss_scale ? 1u : 0u,
                                 .softcap = op.softcap};
  encode(msl::kernel_name("cross_entropy", op.logits.dtype()))
      .buffer(0, op.losses)
      .buffer(1, op.logits)
      .buffer(2, op.targets)
      .optional(3, op.loss_scale)
      .bytes(4, args)
      .work(8.0 * static_cast<double>(op.logits.shape().rows()) * static_cast<double>(op.vocab),
            op.loss_scale ? op.logits.bytes() : 0)
      .dispatch({msl::group_count(op.logits.shape().rows(), 1)},
                {msl::row_threads(columns, tuning_.loss_logits_a_thread,
                                  op.logits.dtype() == DType::f32 ? tuning_.loss_threads_f32 : tuning_.loss_threads)});
}

void MslBackend::execute(const Sum& op) {
  const std::int64_t n = op.in.elements();
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
    add_up(op.out, op.in, n, 1, op.accumulate);
    return;
  }
  const msl::Scratch partial = scratch(DType::f32, {groups});
  add_up(partial, op.in, n, groups, false);
  add_up(op.out, partial, groups, 1, op.accumulate);
}

}  // namespace mslt
