// The largest logits and drawing by all of them as MSL kernels.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/sampling_args.h"

namespace mslt {
namespace {

// Logits per thread before more threads are used.
constexpr std::int64_t logits_a_thread = 16;
// With many rows, few threads per row keep a device busy, unless k is large: a device then has room for more rows at
// once, and top_k takes its threshold from as many maxima as there are threads.
constexpr std::int64_t many_rows = 256;
constexpr std::int64_t threads_of_many = 128;
constexpr std::int64_t most_wanted_of_many = 64;

SamplingArgs sampling_args(const Tensor& logits, std::int64_t vocab, std::int64_t k) {
  return {.columns = msl::count32(logits.shape()[-1], "sampling"),
          .vocab = msl::count32(vocab, "sampling"),
          .k = msl::count32(k, "sampling"),
          .aligned = msl::aligned_rows(logits.shape()[-1], logits)};
}

std::uint32_t sampling_threads(const Tensor& logits, std::int64_t vocab, std::int64_t k, std::int64_t limit) {
  const bool many = logits.shape().rows() >= many_rows && k <= most_wanted_of_many;
  return msl::row_threads(vocab, logits_a_thread, many ? std::min(limit, threads_of_many) : limit);
}

}  // namespace

void MslBackend::execute(const Argmax& op) {
  if (op.values.elements() == 0) return;
  encode(msl::kernel_name("argmax", op.logits.dtype()))
      .buffer(0, op.values)
      .buffer(1, op.indices)
      .buffer(2, op.logits)
      .bytes(3, sampling_args(op.logits, op.vocab, 1))
      .dispatch({msl::group_count(op.logits.shape().rows(), 1)},
                {sampling_threads(op.logits, op.vocab, 1, limits().max_threads_per_threadgroup)});
}

void MslBackend::execute(const TopK& op) {
  if (op.values.elements() == 0) return;
  encode(msl::kernel_name("top_k", op.logits.dtype()))
      .buffer(0, op.values)
      .buffer(1, op.indices)
      .buffer(2, op.logits)
      .bytes(3, sampling_args(op.logits, op.vocab, op.values.shape()[-1]))
      .dispatch({msl::group_count(op.logits.shape().rows(), 1)},
                {sampling_threads(op.logits, op.vocab, op.values.shape()[-1], limits().max_threads_per_threadgroup)});
}

void MslBackend::execute(const DrawTokens& op) {
  static_assert(sizeof(DrawRow) == sizeof(DrawSettings));
  if (op.tokens.elements() == 0) return;
  const std::int64_t rows = op.logits.shape().rows();
  const std::int64_t columns = (op.vocab + msl::span_width - 1) / msl::span_width * msl::span_width;
  const msl::Scratch weights = scratch(DType::f32, {rows, columns});
  const DrawArgs args = {.columns = msl::count32(op.logits.shape()[-1], "draw_tokens"),
                         .vocab = msl::count32(op.vocab, "draw_tokens"),
                         .weight_columns = msl::count32(columns, "draw_tokens"),
                         .words = msl::count32(token_words(op.vocab), "draw_tokens"),
                         .aligned = msl::aligned_rows(op.logits.shape()[-1], op.logits),
                         .has_seen = op.seen ? 1u : 0u,
                         .has_excluded = op.excluded ? 1u : 0u,
                         .excluded_words = op.excluded && op.excluded.shape().rank() == 2
                                               ? msl::count32(token_words(op.vocab), "draw_tokens")
                                               : 0u};
  encode(msl::kernel_name("draw_tokens", op.logits.dtype()))
      .buffer(0, op.tokens)
      .buffer(1, op.values)
      .buffer(2, op.draws)
      .optional(3, op.seen)
      .buffer(4, weights)
      .buffer(5, op.logits)
      .buffer(6, op.settings)
      .optional(7, op.excluded)
      .bytes(8, args)
      .dispatch({msl::group_count(rows, 1)},
                {msl::row_threads(op.vocab, logits_a_thread, limits().max_threads_per_threadgroup)});
}

}  // namespace mslt
