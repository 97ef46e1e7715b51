// Cross entropy with its gradient in place, soft caps of logits, and sums.
#include <metal_stdlib>

#include "lib/group_reduce.h"
#include "lib/instantiate.h"
#include "lib/soft_cap.h"
#include "lib/span.h"
#include "loss_args.h"

using namespace metal;

// Spans in flight per thread.
constant constexpr uint loss_ahead = 4;

constant constexpr float log2_e = 1.4426950408889634f;

// out = cap · tanh(in / cap). Any threadgroup of one dimension.
template <typename T>
kernel void soft_cap_elements(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                              constant SoftCapArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                              uint position [[thread_position_in_threadgroup]],
                              uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  float x[span_width];
  load_span(in, first, args.count, args.aligned, x);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    x[k] = soft_cap(x[k], args.cap);
  }
  store_span(out, first, args.count, args.aligned, x);
}

MSLT_INSTANTIATE(soft_cap_f32, soft_cap_elements, float)
MSLT_INSTANTIATE(soft_cap_bf16, soft_cap_elements, bfloat)
MSLT_INSTANTIATE(soft_cap_f16, soft_cap_elements, half)

// exp of a difference of logits. The error of the fast exponential is far below the effect of its argument's rounding.
inline float exp_difference(float difference) {
  return fast::exp2(difference * log2_e);
}

// The largest logit and the sum of all exponentials relative to it, of one thread.
struct RunningSum {
  float largest;
  float total;
};

// Adds `count` values; those from `valid` on are no logits.
template <uint count>
inline void take_logits(thread RunningSum& sum, thread const float* values, ulong valid) {
  float top = sum.largest;
#pragma unroll
  for (uint k = 0; k < count; ++k) {
    top = k < valid && values[k] > top ? values[k] : top;
  }
  sum.total *= exp_difference(sum.largest - top);
  sum.largest = top;
#pragma unroll
  for (uint k = 0; k < count; ++k) {
    sum.total += k < valid ? exp_difference(values[k] - top) : 0.0f;
  }
}

// Logits of a row from `from` on, every `stride`-th span, become gradients; softcap is of the logits, 0 for none.
template <typename T>
inline void take_gradients(device T* logits, ulong from, ulong end, ulong vocab_end, ulong target_at, ulong stride,
                           uint aligned, float maximum, float factor, float scale, float softcap) {
  float values[span_width];
  for (ulong i = from; i < end; i += stride) {
    load_span(logits, i, end, aligned, values);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      const float slope = soft_cap_slope(values[k], softcap);
      const float gradient = exp_difference(values[k] - maximum) * factor - (i + k == target_at ? scale : 0.0f);
      values[k] = i + k < vocab_end ? gradient * slope : 0.0f;
    }
    store_span(logits, i, end, aligned, values);
  }
}

// losses[row] = log Σ exp(logits) - logits[target]; with `backward` the row becomes scale · (softmax - one-hot), zeros
// from vocab on. One threadgroup of whole simdgroups per row. One pass finds maximum and sum, each thread rescaling its
// sum when its maximum grows; a second pass computes the gradient from the cache. Few rows are in flight at a time,
// each with all the threads that a group may have.
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
  const ulong first = begin + position * span_width;
  const ulong stride = ulong(threads) * span_width;
  // Up to here threads take loss_ahead spans at once, all inside the vocabulary.
  const ulong chunk = stride * loss_ahead;
  const ulong chunks_end = args.aligned != 0 ? begin + args.vocab / chunk * chunk : begin;
  const int target = targets[row];
  float values[loss_ahead * span_width];
  if (target < 0 || uint(target) >= args.vocab) {
    if (position == 0) {
      losses[row] = 0.0f;
    }
    if (args.backward != 0) {
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        values[k] = 0.0f;
      }
      for (ulong i = first; i < end; i += stride) {
        store_span(logits, i, end, args.aligned, values);
      }
    }
    return;
  }
  // Read before the barriers below, and so before any thread overwrites it.
  const float wanted = float(logits[begin + uint(target)]);

  RunningSum sum;
  sum.largest = -FLT_MAX;
  sum.total = 0.0f;
  for (ulong i = first; i < chunks_end; i += chunk) {
#pragma unroll
    for (uint step = 0; step < loss_ahead; ++step) {
      load_aligned(logits + i + step * stride, values + step * span_width);
    }
    take_logits<loss_ahead * span_width>(sum, values, loss_ahead * span_width);
  }
  for (ulong i = chunks_end + position * span_width; i < vocab_end; i += stride) {
    load_span(logits, i, end, args.aligned, values);
    take_logits<span_width>(sum, values, vocab_end - i);
  }
  const float maximum = group_max(sum.largest, -FLT_MAX, maxima, simdgroup, lane, simdgroups);
  const float total =
      group_sum(sum.total * exp_difference(sum.largest - maximum), sums, simdgroup, lane, simdgroups);
  if (position == 0) {
    // Both differences are of similar numbers, so small losses stay accurate.
    losses[row] = log(total) + (maximum - wanted);
  }
  if (args.backward == 0) {
    return;
  }
  const float scale = loss_scale[0];
  const float factor = scale / total;
  const ulong target_at = begin + uint(target);
  if (args.softcap != 0.0f) {
    take_gradients(logits, first, end, vocab_end, target_at, stride, args.aligned, maximum, factor, scale,
                   args.softcap);
    return;
  }
  // In reverse order: the most recently read elements are the nearest in the cache.
  for (ulong chunks = (chunks_end - begin) / chunk; chunks > 0; --chunks) {
    const ulong i = first + (chunks - 1) * chunk;
#pragma unroll
    for (uint step = 0; step < loss_ahead; ++step) {
      load_aligned(logits + i + step * stride, values + step * span_width);
    }
#pragma unroll
    for (uint step = 0; step < loss_ahead; ++step) {
      const ulong at = i + step * stride;
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const uint v = step * span_width + k;
        values[v] = exp_difference(values[v] - maximum) * factor;
      }
      const ulong target_in = target_at - at;
      if (target_in < span_width) {
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          const uint v = step * span_width + k;
          values[v] = k == target_in ? values[v] - scale : values[v];
        }
      }
      store_aligned(logits + at, values + step * span_width);
    }
  }
  take_gradients(logits, chunks_end + position * span_width, end, vocab_end, target_at, stride, args.aligned, maximum,
                 factor, scale, 0.0f);
}

MSLT_INSTANTIATE(cross_entropy_f32, cross_entropy_rows, float)
MSLT_INSTANTIATE(cross_entropy_bf16, cross_entropy_rows, bfloat)
MSLT_INSTANTIATE(cross_entropy_f16, cross_entropy_rows, half)

// Spans in flight per thread of a sum.
constant constexpr uint sum_spans = 4;

// sums[group] (+)= Σ of the group's elements. A second launch with one group sums the results of several groups.
[[max_total_threads_per_threadgroup(1024)]] kernel void sum_f32(
    device float* sums [[buffer(0)]], device const float* in [[buffer(1)]], constant SumArgs& args [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]], uint groups [[threadgroups_per_grid]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float partial[max_simdgroups];
  const ulong stride = ulong(threads) * span_width;
  const ulong piece = sum_spans * stride;
  float sums_of_eight[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    sums_of_eight[k] = 0.0f;
  }
  float values[sum_spans * span_width];
  // Concurrent groups read neighbouring memory.
  for (ulong begin = group * piece; begin < args.count; begin += groups * piece) {
    const ulong first = begin + position * span_width;
    if (args.aligned != 0 && begin + piece <= args.count) {
#pragma unroll
      for (uint j = 0; j < sum_spans; ++j) {
        load_aligned(in + first + j * stride, values + j * span_width);
      }
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        // In pairs, so that all loads are issued before the first is awaited.
        const float low = values[k] + values[k + span_width];
        const float high = values[k + 2 * span_width] + values[k + 3 * span_width];
        sums_of_eight[k] += low + high;
      }
    } else {
      for (ulong i = first; i < min(begin + piece, args.count); i += stride) {
        load_span(in, i, args.count, args.aligned, values);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          sums_of_eight[k] += values[k];
        }
      }
    }
  }
  float total = 0.0f;
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    total += sums_of_eight[k];
  }
  total = group_sum(total, partial, simdgroup, lane, simdgroups);
  if (position == 0) {
    sums[group] = args.accumulate != 0 ? sums[group] + total : total;
  }
}
