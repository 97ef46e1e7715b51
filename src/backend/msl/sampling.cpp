// The largest logits as MSL kernels.
#include <algorithm>

#include "backend/msl/launch.h"
#include "backend/msl/msl_backend.h"
#include "kernels/sampling_args.h"

namespace mslt {
namespace {

// Logits per thread before more threads are used.
constexpr std::int64_t logits_a_thread = 16;
// With many rows, few threads per row keep a device busy, unless k is large.
constexpr std::int64_t many_rows = 256;
constexpr std::int64_t argmax_threads_of_many = 128;
constexpr std::int64_t top_k_threads_of_many = 512;
constexpr std::int64_t most_wanted_of_many = 64;

SamplingArgs sampling_args(const Tensor& logits, std::int64_t vocab, std::int64_t k) {
  return {.columns = msl::count32(logits.shape()[-1], "sampling"),
          .vocab = msl::count32(vocab, "sampling"),
          .k = msl::count32(k, "sampling"),
          .aligned = msl::aligned_rows(logits.shape()[-1], logits)};
}

std::uint32_t sampling_threads(const Tensor& logits, std::int64_t vocab, std::int64_t k, std::int64_t enough,
                               std::int64_t limit) {
  const bool many = logits.shape().rows() >= many_rows && k <= most_wanted_of_many;
  return msl::row_threads(vocab, logits_a_thread, many ? std::min(limit, enough) : limit);
}

}  // namespace

void MslBackend::execute(const Argmax& op) {
  if (op.values.elements() == 0) return;
  encode(msl::kernel_name("argmax", op.logits.dtype()))
      .buffer(0, op.values)
      .buffer(1, op.indices)
      .buffer(2, op.logits)
      .bytes(3, sampling_args(op.logits, op.vocab, 1))
      .dispatch(
          {msl::group_count(op.logits.shape().rows(), 1)},
          {sampling_threads(op.logits, op.vocab, 1, argmax_threads_of_many, limits().max_threads_per_threadgroup)});
}

void MslBackend::execute(const TopK& op) {
  if (op.values.elements() == 0) return;
  encode(msl::kernel_name("top_k", op.logits.dtype()))
      .buffer(0, op.values)
      .buffer(1, op.indices)
      .buffer(2, op.logits)
      .bytes(3, sampling_args(op.logits, op.vocab, op.values.shape()[-1]))
      .dispatch({msl::group_count(op.logits.shape().rows(), 1)},
                {sampling_threads(op.logits, op.vocab, op.values.shape()[-1], top_k_threads_of_many,
                                  limits().max_threads_per_threadgroup)});
}

}  // namespace mslt
