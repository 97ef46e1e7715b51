// Cross entropy with its gradient in place, and sums.
#include <metal_stdlib>

#include "lib/group_reduce.h"
#include "lib/instantiate.h"
#include "lib/span.h"
#include "loss_args.h"

using namespace metal;

// losses[row] = log Σ exp(logits) - logits[target]; with `backward` the row becomes scale · (softmax - one-hot), zeros
// from vocab on. One threadgroup of whole simdgroups a row. The row is read once for maximum and sum together, each
// thread rescaling its sum when its maximum grows, and once more for the gradient, from the cache.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void cross_entropy_rows(
    device float* losses [[buffer(0)]], device T* logits [[buffer(1)]], device const int* targets [[buffer(2)]],
    device const float* loss_scale [[buffer(3)]], constant CrossEntropyArgs& args [[buffer(4)]],
    uint row [[threadgroup_position_in_grid]], uint position [[thread_position_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float maxima[max_simdgroups];
  threadgroup float sums[max_simdgroups];
  const ulong begin = ulong(row) * args.columns;
  const ulong end = begin + args.columns;
  const ulong vocab_end = begin + args.vocab;
  const int target = targets[row];
  float values[span_width];
  if (target < 0 || uint(target) >= args.vocab) {
    if (position == 0) {
      losses[row] = 0.0f;
    }
    if (args.backward != 0) {
      for (uint k = 0; k < span_width; ++k) {
        values[k] = 0.0f;
      }
      for (ulong i = begin + position * span_width; i < end; i += threads * span_width) {
        store_span(logits, i, end, args.aligned, values);
      }
    }
    return;
  }
  // Read before the barriers below, and so before any thread overwrites it.
  const float wanted = float(logits[begin + uint(target)]);

  float largest = -FLT_MAX;
  float total = 0.0f;
  for (ulong i = begin + position * span_width; i < vocab_end; i += threads * span_width) {
    load_span(logits, i, end, args.aligned, values);
    float top = largest;
    for (uint k = 0; k < span_width; ++k) {
      top = i + k < vocab_end && values[k] > top ? values[k] : top;
    }
    total *= exp(largest - top);
    largest = top;
    for (uint k = 0; k < span_width; ++k) {
      total += i + k < vocab_end ? exp(values[k] - largest) : 0.0f;
    }
  }
  const float maximum = group_max(largest, -FLT_MAX, maxima, simdgroup, lane, simdgroups);
  total = group_sum(total * exp(largest - maximum), sums, simdgroup, lane, simdgroups);
  if (position == 0) {
    // Both differences are of nearby numbers, so this keeps small losses accurate.
    losses[row] = log(total) + (maximum - wanted);
  }
  if (args.backward == 0) {
    return;
  }
  const float scale = loss_scale[0];
  const float factor = total == 0.0f ? 0.0f : scale / total;
  const ulong target_at = begin + uint(target);
  for (ulong i = begin + position * span_width; i < end; i += threads * span_width) {
    load_span(logits, i, end, args.aligned, values);
    for (uint k = 0; k < span_width; ++k) {
      const float gradient = i + k < vocab_end ? exp(values[k] - maximum) * factor : 0.0f;
      values[k] = i + k == target_at ? gradient - scale : gradient;
    }
    store_span(logits, i, end, args.aligned, values);
  }
}

MSLT_INSTANTIATE(cross_entropy_f32, cross_entropy_rows, float)
MSLT_INSTANTIATE(cross_entropy_bf16, cross_entropy_rows, bfloat)
MSLT_INSTANTIATE(cross_entropy_f16, cross_entropy_rows, half)

// sums[group] (+)= Σ of the group's elements. One group ends what several began.
[[max_total_threads_per_threadgroup(1024)]] kernel void sum_f32(
    device float* sums [[buffer(0)]], device const float* in [[buffer(1)]], constant SumArgs& args [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]], uint position [[thread_position_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float partial[max_simdgroups];
  const ulong begin = group * args.per_group;
  const ulong end = min(begin + args.per_group, args.count);
  float total = 0.0f;
  for (ulong i = begin + position; i < end; i += threads) {
    total += in[i];
  }
  total = group_sum(total, partial, simdgroup, lane, simdgroups);
  if (position == 0) {
    sums[group] = args.accumulate != 0 ? sums[group] + total : total;
  }
}
