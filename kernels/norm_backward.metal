// The gradients of LayerNorm and RMSNorm with the residual addition.
#include <metal_stdlib>

#include "lib/instantiate.h"
#include "lib/lane_sums.h"
#include "lib/norm_row.h"
#include "lib/part_sum.h"
#include "lib/raw_span.h"
#include "norm_args.h"

using namespace metal;

// The most simdgroups of a threadgroup of norm_backward.
constant constexpr uint norm_simdgroups = 24;

// What a thread has of the `count` rows of a step.
template <typename T, uint count>
struct NormSpans {
  Run<T, span_width> gradient[count];
  Run<T, span_width> sum[count];
  Run<T, span_width> direct[count];
  float centre[count];
  float factor[count];
};

// Rows first_row + row and so on of `rows`; those past the last one repeat it.
template <typename T, uint count>
inline void fetch_norm_spans(thread NormSpans<T, count>& spans, device const T* dout, device const T* direct,
                             device const T* sum, device const float* mean, device const float* rstd,
                             constant NormBackwardArgs& args, uint first_row, uint row, uint rows, uint column) {
#pragma unroll
  for (uint r = 0; r < count; ++r) {
    const uint taken = first_row + min(row + r, rows - 1);
    const ulong at = norm_row(args, taken) + column;
    fetch_run(dout + at, spans.gradient[r]);
    fetch_run(sum + ulong(taken) * args.columns + column, spans.sum[r]);
    fetch_run((args.has_direct != 0 ? direct : dout) + at, spans.direct[r]);
    spans.centre[r] = (args.rms != 0 ? rstd : mean)[taken];
    spans.factor[r] = rstd[taken];
  }
}

// dsum = direct + the norm's gradient, and sums over rows_per_part rows: partial[part] holds Σ dout · normalised, Σ dout
// and, if there are three sums, Σ dsum. A threadgroup per part, of whole simdgroups with one thread for each span of a row, all
// whole aligned spans. A step takes `count` rows, 1 or 2, with one barrier for the sums of all; the rows of the next step
// are on their way meanwhile. `shares` has norm_simdgroups elements for even steps, and as many for odd ones.
template <uint count, typename T>
inline void norm_backward_part(device T* dsum, device float* partial, device const T* dout, device const T* direct,
                               device const T* sum, device const float* mean, device const float* rstd,
                               device const T* weight, constant NormBackwardArgs& args, threadgroup float4* shares,
                               uint part, uint position, uint simdgroup, uint simdgroups, uint lane) {
  const uint first_row = part * args.rows_per_part;
  const uint rows = min(args.rows_per_part, args.rows - first_row);
  const uint column = position * span_width;
  const bool inside = column < args.columns;
  // A thread beyond the row's end loads the last span and discards it.
  const uint loaded = min(column, args.columns - span_width);
  const float columns = float(args.columns);
  float gain[span_width];
  load_aligned(weight + loaded, gain);
  float weight_sums[span_width];
  float bias_sums[span_width];
  float x_sums[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    gain[k] += args.weight_offset;
    weight_sums[k] = 0.0f;
    bias_sums[k] = 0.0f;
    x_sums[k] = 0.0f;
  }
  NormSpans<T, count> ahead;
  fetch_norm_spans(ahead, dout, direct, sum, mean, rstd, args, first_row, 0u, rows, loaded);
  uint turn = 0;
  for (uint row = 0; row < rows; row += count) {
    const NormSpans<T, count> spans = ahead;
    if (row + count < rows) {
      fetch_norm_spans(ahead, dout, direct, sum, mean, rstd, args, first_row, row + count, rows, loaded);
    }
    float gradient[count * span_width];
    float normal[count * span_width];
    // Of each row, Σ gradient · normal and Σ gradient.
    float totals[2 * count];
#pragma unroll
    for (uint r = 0; r < count; ++r) {
      const bool counts = inside && row + r < rows;
      const float centre = args.rms != 0 ? 0.0f : spans.centre[r];
      const float factor = spans.factor[r];
      unpack_raw(spans.gradient[r], gradient + r * span_width);
      unpack_raw(spans.sum[r], normal + r * span_width);
      float product = 0.0f;
      float total = 0.0f;
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const uint i = r * span_width + k;
        const float raw = counts ? gradient[i] : 0.0f;
        normal[i] = (normal[i] - centre) * factor;
        weight_sums[k] += raw * normal[i];
        bias_sums[k] += raw;
        gradient[i] = raw * gain[k];
        product += gradient[i] * normal[i];
        total += gradient[i];
      }
      totals[2 * r] = product;
      totals[2 * r + 1] = total;
    }
    constexpr uint lanes = 16 / count;
    spread_sums<2 * count, 32>(totals, lane);
    if (lane % lanes == 0) {
      shares[turn * norm_simdgroups + simdgroup][lane / lanes] = totals[0];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float all[2 * count];
#pragma unroll
    for (uint i = 0; i < 2 * count; ++i) {
      all[i] = 0.0f;
    }
    for (uint other = 0; other < simdgroups; ++other) {
      const float4 share = shares[turn * norm_simdgroups + other];
#pragma unroll
      for (uint i = 0; i < 2 * count; ++i) {
        all[i] += share[i];
      }
    }
#pragma unroll
    for (uint r = 0; r < count; ++r) {
      const float product = all[2 * r] / columns;
      const float total = args.rms != 0 ? 0.0f : all[2 * r + 1] / columns;
      if (inside && row + r < rows) {
        float shortcut[span_width];
        float result[span_width];
        unpack_raw(spans.direct[r], shortcut);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          const uint i = r * span_width + k;
          result[k] = (gradient[i] - total - normal[i] * product) * spans.factor[r];
          result[k] += args.has_direct != 0 ? shortcut[k] : 0.0f;
          x_sums[k] += float(T(result[k]));
        }
        store_aligned(dsum + norm_row(args, first_row + row + r) + column, result);
      }
    }
    turn = 1 - turn;
  }
  if (inside) {
    const ulong at = ulong(part) * args.sums * args.columns + column;
    store_aligned(partial + at, weight_sums);
    store_aligned(partial + at + args.columns, bias_sums);
    if (args.sums == 3) {
      store_aligned(partial + at + 2 * args.columns, x_sums);
    }
  }
}

// For rows of at most 4,096 columns. The last parts come first: they were written last, and may be in the cache.
template <typename T>
[[max_total_threads_per_threadgroup(512)]] kernel void norm_backward(
    device T* dsum [[buffer(0)]], device float* partial [[buffer(1)]], device const T* dout [[buffer(2)]],
    device const T* direct [[buffer(3)]], device const T* sum [[buffer(4)]], device const float* mean [[buffer(5)]],
    device const float* rstd [[buffer(6)]], device const T* weight [[buffer(7)]],
    constant NormBackwardArgs& args [[buffer(8)]], uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]], uint position [[thread_position_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float4 shares[2 * norm_simdgroups];
  norm_backward_part<2>(dsum, partial, dout, direct, sum, mean, rstd, weight, args, shares,
                        groups - 1 - group, position, simdgroup, simdgroups, lane);
}

MSLT_INSTANTIATE(norm_backward_f32, norm_backward, float)
MSLT_INSTANTIATE(norm_backward_bf16, norm_backward, bfloat)
MSLT_INSTANTIATE(norm_backward_f16, norm_backward, half)

// For rows of at most 6,144 columns, whose many threads have fewer registers each.
template <typename T>
[[max_total_threads_per_threadgroup(768)]] kernel void norm_backward_wide(
    device T* dsum [[buffer(0)]], device float* partial [[buffer(1)]], device const T* dout [[buffer(2)]],
    device const T* direct [[buffer(3)]], device const T* sum [[buffer(4)]], device const float* mean [[buffer(5)]],
    device const float* rstd [[buffer(6)]], device const T* weight [[buffer(7)]],
    constant NormBackwardArgs& args [[buffer(8)]], uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]], uint position [[thread_position_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float4 shares[2 * norm_simdgroups];
  norm_backward_part<1>(dsum, partial, dout, direct, sum, mean, rstd, weight, args, shares,
                        groups - 1 - group, position, simdgroup, simdgroups, lane);
}

MSLT_INSTANTIATE(norm_backward_wide_f32, norm_backward_wide, float)
MSLT_INSTANTIATE(norm_backward_wide_bf16, norm_backward_wide, bfloat)
MSLT_INSTANTIATE(norm_backward_wide_f16, norm_backward_wide, half)

// Only the partial sums, for rows of any length and alignment: a thread has one span of columns of a part's rows.
template <typename T>
kernel void norm_backward_columns(device float* partial [[buffer(0)]], device const T* dout [[buffer(1)]],
                                  device const T* sum [[buffer(2)]], device const float* mean [[buffer(3)]],
                                  device const float* rstd [[buffer(4)]],
                                  constant NormBackwardArgs& args [[buffer(5)]],
                                  uint2 group [[threadgroup_position_in_grid]],
                                  uint2 position [[thread_position_in_threadgroup]],
                                  uint2 threads [[threads_per_threadgroup]]) {
  const ulong part = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  const ulong first_row = part * args.rows_per_part;
  if (first_row >= args.rows || column >= args.columns) {
    return;
  }
  const ulong last_row = min(first_row + args.rows_per_part, ulong(args.rows));
  float weight_sums[span_width];
  float bias_sums[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    weight_sums[k] = 0.0f;
    bias_sums[k] = 0.0f;
  }
  for (ulong row = first_row; row < last_row; ++row) {
    const ulong begin = norm_row(args, uint(row));
    const ulong sum_begin = row * args.columns;
    const float centre = args.rms != 0 ? 0.0f : mean[row];
    const float factor = rstd[row];
    float gradient[span_width];
    float total[span_width];
    load_span(dout, begin + column, begin + args.columns, args.aligned, gradient);
    load_span(sum, sum_begin + column, sum_begin + args.columns, args.aligned, total);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      weight_sums[k] += gradient[k] * ((total[k] - centre) * factor);
      bias_sums[k] += gradient[k];
    }
  }
  const ulong at_weight = part * args.sums * args.columns;
  const ulong at_bias = at_weight + args.columns;
  store_span(partial, at_weight + column, at_bias, args.aligned, weight_sums);
  store_span(partial, at_bias + column, at_bias + args.columns, args.aligned, bias_sums);
}

MSLT_INSTANTIATE(norm_backward_columns_f32, norm_backward_columns, float)
MSLT_INSTANTIATE(norm_backward_columns_bf16, norm_backward_columns, bfloat)
MSLT_INSTANTIATE(norm_backward_columns_f16, norm_backward_columns, half)

// Only dsum, for rows of any length and alignment: one simdgroup per row, which is read twice.
template <typename T>
kernel void norm_backward_rows(device T* dsum [[buffer(0)]], device const T* dout [[buffer(1)]],
                               device const T* direct [[buffer(2)]], device const T* sum [[buffer(3)]],
                               device const float* mean [[buffer(4)]], device const float* rstd [[buffer(5)]],
                               device const T* weight [[buffer(6)]], constant NormBackwardArgs& args [[buffer(7)]],
                               uint group [[threadgroup_position_in_grid]],
                               uint simdgroup [[simdgroup_index_in_threadgroup]],
                               uint simdgroups [[simdgroups_per_threadgroup]],
                               uint lane [[thread_index_in_simdgroup]]) {
  const ulong row = ulong(group) * simdgroups + simdgroup;
  if (row >= args.rows) {
    return;
  }
  const uint steps = (args.columns + norm_step - 1) / norm_step;
  const ulong begin = norm_row(args, uint(row));
  const ulong end = begin + args.columns;
  const ulong sum_begin = row * args.columns;
  const ulong sum_end = sum_begin + args.columns;
  const float count = float(args.columns);
  const float centre = args.rms != 0 ? 0.0f : mean[row];
  const float factor = rstd[row];
  float gradient[span_width];
  float normal[span_width];
  float gain[span_width];
  float product = 0.0f;
  float total = 0.0f;
  for (uint step = 0; step < steps; ++step) {
    const uint column = step * norm_step + lane * span_width;
    if (column < args.columns) {
      load_span(dout, begin + column, end, args.aligned, gradient);
      load_span(sum, sum_begin + column, sum_end, args.aligned, normal);
      load_span(weight, column, args.columns, args.weight_aligned, gain);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const float scaled = gradient[k] * (gain[k] + args.weight_offset);
        product += scaled * ((normal[k] - centre) * factor);
        total += scaled;
      }
    }
  }
  product = simd_sum(product) / count;
  total = simd_sum(total);
  total = args.rms != 0 ? 0.0f : total / count;
  for (uint step = 0; step < steps; ++step) {
    const uint column = step * norm_step + lane * span_width;
    if (column < args.columns) {
      load_span(dout, begin + column, end, args.aligned, gradient);
      load_span(sum, sum_begin + column, sum_end, args.aligned, normal);
      load_span(weight, column, args.columns, args.weight_aligned, gain);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        gradient[k] = (gradient[k] * (gain[k] + args.weight_offset) - total - (normal[k] - centre) * factor * product) * factor;
      }
      if (args.has_direct != 0) {
        load_span(direct, begin + column, end, args.aligned, normal);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          gradient[k] += normal[k];
        }
      }
      store_span(dsum, begin + column, end, args.aligned, gradient);
    }
  }
}

MSLT_INSTANTIATE(norm_backward_rows_f32, norm_backward_rows, float)
MSLT_INSTANTIATE(norm_backward_rows_bf16, norm_backward_rows, bfloat)
MSLT_INSTANTIATE(norm_backward_rows_f16, norm_backward_rows, half)

// dweight, dbias and dx_bias += the partial sums of their columns, in the order of parts. Threadgroups of 32 columns by
// join_rows threads.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]]
kernel void norm_gradient(device T* dweight [[buffer(0)]], device T* dbias [[buffer(1)]],
                          device T* dx_bias [[buffer(2)]], device const float* partial [[buffer(3)]],
                          constant NormGradientArgs& args [[buffer(4)]],
                          uint2 group [[threadgroup_position_in_grid]],
                          uint2 position [[thread_position_in_threadgroup]]) {
  threadgroup float sums[join_rows * 32];
  const ulong column = ulong(group.x) * 32 + position.x;
  const bool of_bias = column >= args.columns && column < 2 * args.columns;
  const bool inside = column < args.summed && !(of_bias && args.has_bias == 0);
  const float total =
      join_parts(partial, column, ulong(args.sums) * args.columns, args.parts, inside, sums, position);
  if (position.y == 0 && inside) {
    if (column < args.columns) {
      dweight[column] = T(float(dweight[column]) + total);
    } else if (of_bias) {
      dbias[column - args.columns] = T(float(dbias[column - args.columns]) + total);
    } else {
      dx_bias[column - 2 * args.columns] = T(float(dx_bias[column - 2 * args.columns]) + total);
    }
  }
}

MSLT_INSTANTIATE(norm_gradient_f32, norm_gradient, float)
MSLT_INSTANTIATE(norm_gradient_bf16, norm_gradient, bfloat)
MSLT_INSTANTIATE(norm_gradient_f16, norm_gradient, half)
