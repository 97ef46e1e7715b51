// LayerNorm and RMSNorm with the residual addition: one simdgroup per row.
#include <metal_stdlib>

#include "lib/dropout.h"
#include "lib/instantiate.h"
#include "lib/part_sum.h"
#include "lib/span.h"
#include "norm_args.h"

using namespace metal;

// Columns that a simdgroup covers at a time, one span per lane.
constant constexpr uint norm_step = 32 * span_width;

// Steps whose columns a lane keeps in registers: rows of up to 1,024 columns are read once.
constant constexpr uint norm_kept = 4;

// Rows that a threadgroup of norm_backward processes at once, and its most simdgroups.
constant constexpr uint norm_rows = 2;
constant constexpr uint norm_simdgroups = 24;

// Rows of threads per threadgroup of norm_gradient, and partial sums in flight per thread.
constant constexpr uint norm_gradient_rows = 32;
constant constexpr uint norm_gradient_ahead = 8;

// Where a row begins that may be a piece of a wider one.
template <typename Args>
inline ulong norm_row(constant Args& args, uint row) {
  const uint wide = args.pieces == 1 ? row : row / args.pieces;
  return ulong(wide) * args.stride + (row - wide * args.pieces) * args.columns;
}

// A lane's spans of a row of `columns`, which are whole and aligned. A lane with nothing left to load loads the last
// span again and discards it, so no branch prevents loads from being issued together.
template <typename T>
inline void load_row(device const T* row, uint columns, uint lane, thread float* values) {
#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    const uint column = min(step * norm_step + lane * span_width, columns - span_width);
    load_aligned(row + column, values + step * span_width);
  }
}

// What is normalised is the sum as it is stored: its norm can be computed again from it, bit for bit.
template <typename T>
inline float stored_sum(float residual, float x) {
  return float(T(residual + x));
}

// sum = residual + dropout(x), out = its norm, for rows of at most 1,024 columns, which stay in registers, all whole
// aligned spans. The rows of residual, x and out may be pieces of wider ones. Threadgroups of whole simdgroups, one per row.
template <typename T, typename W>
kernel void norm_forward(device T* out [[buffer(0)]], device T* sum [[buffer(1)]], device float* mean [[buffer(2)]],
                         device float* rstd [[buffer(3)]], device const T* residual [[buffer(4)]],
                         device const T* x [[buffer(5)]], device const W* weight [[buffer(6)]],
                         device const W* bias [[buffer(7)]], device const uint* random_state [[buffer(8)]],
                         constant NormForwardArgs& args [[buffer(9)]], uint group [[threadgroup_position_in_grid]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]],
                         uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  const ulong row = ulong(group) * simdgroups + simdgroup;
  if (row >= args.rows) {
    return;
  }
  const ulong begin = norm_row(args, uint(row));
  const float count = float(args.columns);
  float values[norm_kept * span_width];
  float added[norm_kept * span_width];
  // Without x, the residual is loaded in its place.
  load_row(residual + begin, args.columns, lane, values);
  load_row((args.has_x != 0 ? x : residual) + begin, args.columns, lane, added);
  if (args.has_x != 0) {
    const DropoutStream dropout =
        dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
#pragma unroll
    for (uint step = 0; step < norm_kept; ++step) {
      const uint at = step * span_width;
      // Random numbers are expensive: none for steps beyond the row.
      if (dropout.dropped != 0 && step * norm_step < args.columns) {
        const ulong block = (begin + step * norm_step + lane * span_width) / 4;
        drop_block(dropout, block, added + at);
        drop_block(dropout, block + 1, added + at + 4);
      }
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        values[at + k] = stored_sum<T>(values[at + k], added[at + k]);
      }
    }
  }

  float total = 0.0f;
#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    if (step * norm_step + lane * span_width < args.columns) {
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        total += values[step * span_width + k];
      }
    }
  }
  total = simd_sum(total);
  // If sum or out is an input, no lane writes before all have loaded, including the last span, which belongs to another
  // lane.
  simdgroup_barrier(mem_flags::mem_device);
  const float centre = args.rms != 0 ? 0.0f : total / count;

  float squares = 0.0f;
#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    if (step * norm_step + lane * span_width < args.columns) {
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const float distance = values[step * span_width + k] - centre;
        squares += distance * distance;
      }
    }
  }
  float gain[norm_kept * span_width];
  float offset[norm_kept * span_width];
  load_row(weight, args.columns, lane, gain);
  load_row(args.has_bias != 0 ? bias : weight, args.columns, lane, offset);
  const float variance = simd_sum(squares) / count + args.epsilon;
  const float factor = variance == 0.0f ? 0.0f : 1.0f / sqrt(variance);

#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    const uint column = step * norm_step + lane * span_width;
    thread float* part = values + step * span_width;
    if (column < args.columns) {
      if (args.has_sum != 0) {
        store_aligned(sum + row * args.columns + column, part);
      }
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const uint at = step * span_width + k;
        part[k] = (part[k] - centre) * factor * (gain[at] + args.weight_offset) + (args.has_bias != 0 ? offset[at] : 0.0f);
      }
      store_aligned(out + begin + column, part);
    }
  }
  if (lane == 0 && args.has_mean != 0) {
    mean[row] = centre;
  }
  if (lane == 0 && args.has_rstd != 0) {
    rstd[row] = factor;
  }
}

MSLT_INSTANTIATE(norm_forward_f32_f32, norm_forward, float, float)
MSLT_INSTANTIATE(norm_forward_f32_bf16, norm_forward, float, bfloat)
MSLT_INSTANTIATE(norm_forward_f32_f16, norm_forward, float, half)
MSLT_INSTANTIATE(norm_forward_bf16_bf16, norm_forward, bfloat, bfloat)
MSLT_INSTANTIATE(norm_forward_f16_f16, norm_forward, half, half)

// A span of residual + dropout(x).
template <typename T>
inline void load_norm_sum(device const T* residual, device const T* x, constant NormForwardArgs& args,
                          DropoutStream dropout, ulong first, ulong end, thread float* values) {
  load_span(residual, first, end, args.aligned, values);
  if (args.has_x != 0) {
    float added[span_width];
    load_span(x, first, end, args.aligned, added);
    drop_span(dropout, first, added);
#pragma unroll
    for (uint k = 0; k < span_width; ++k) {
      values[k] = stored_sum<T>(values[k], added[k]);
    }
  }
}

// The same for rows of any length and alignment, which are read again from the caches for mean, variance and result.
template <typename T, typename W>
kernel void norm_forward_wide(device T* out [[buffer(0)]], device T* sum [[buffer(1)]], device float* mean [[buffer(2)]],
                         device float* rstd [[buffer(3)]], device const T* residual [[buffer(4)]],
                         device const T* x [[buffer(5)]], device const W* weight [[buffer(6)]],
                         device const W* bias [[buffer(7)]], device const uint* random_state [[buffer(8)]],
                         constant NormForwardArgs& args [[buffer(9)]], uint group [[threadgroup_position_in_grid]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]],
                         uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  const ulong row = ulong(group) * simdgroups + simdgroup;
  if (row >= args.rows) {
    return;
  }
  float part[span_width];
  const uint steps = (args.columns + norm_step - 1) / norm_step;
  const ulong begin = norm_row(args, uint(row));
  const ulong end = begin + args.columns;
  const float count = float(args.columns);
  const DropoutStream dropout =
      dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);

  float total = 0.0f;
  for (uint step = 0; step < steps; ++step) {
    const uint column = step * norm_step + lane * span_width;
    if (column < args.columns) {
      load_norm_sum(residual, x, args, dropout, begin + column, end, part);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        total += part[k];
      }
    }
  }
  total = simd_sum(total);
  const float centre = args.rms != 0 ? 0.0f : total / count;

  float squares = 0.0f;
  for (uint step = 0; step < steps; ++step) {
    const uint column = step * norm_step + lane * span_width;
    if (column < args.columns) {
      load_norm_sum(residual, x, args, dropout, begin + column, end, part);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const float distance = column + k < args.columns ? part[k] - centre : 0.0f;
        squares += distance * distance;
      }
    }
  }
  const float variance = simd_sum(squares) / count + args.epsilon;
  const float factor = variance == 0.0f ? 0.0f : 1.0f / sqrt(variance);

  for (uint step = 0; step < steps; ++step) {
    const uint column = step * norm_step + lane * span_width;
    if (column < args.columns) {
      load_norm_sum(residual, x, args, dropout, begin + column, end, part);
      if (args.has_sum != 0) {
        store_span(sum, row * args.columns + column, (row + 1) * args.columns, args.aligned, part);
      }
      float gain[span_width];
      load_span(weight, column, args.columns, args.weight_aligned, gain);
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        part[k] = (part[k] - centre) * factor * (gain[k] + args.weight_offset);
      }
      if (args.has_bias != 0) {
        float offset[span_width];
        load_span(bias, column, args.columns, args.weight_aligned, offset);
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          part[k] += offset[k];
        }
      }
      store_span(out, begin + column, end, args.aligned, part);
    }
  }
  if (lane == 0 && args.has_mean != 0) {
    mean[row] = centre;
  }
  if (lane == 0 && args.has_rstd != 0) {
    rstd[row] = factor;
  }
}

MSLT_INSTANTIATE(norm_forward_wide_f32_f32, norm_forward_wide, float, float)
MSLT_INSTANTIATE(norm_forward_wide_f32_bf16, norm_forward_wide, float, bfloat)
MSLT_INSTANTIATE(norm_forward_wide_f32_f16, norm_forward_wide, float, half)
MSLT_INSTANTIATE(norm_forward_wide_bf16_bf16, norm_forward_wide, bfloat, bfloat)
MSLT_INSTANTIATE(norm_forward_wide_f16_f16, norm_forward_wide, half, half)

// dsum = direct + the norm's gradient, and the sums over rows_per_part rows for dweight and dbias: partial[part] holds
// Σ dout · normalised and Σ dout. One threadgroup per part, of whole simdgroups with one thread for each span of a row:
// at most 6,144 columns, all whole aligned spans. Each step takes norm_rows rows, with one barrier for the sums of all.
template <typename T>
[[max_total_threads_per_threadgroup(768)]] kernel void norm_backward(
    device T* dsum [[buffer(0)]], device float* partial [[buffer(1)]], device const T* dout [[buffer(2)]],
    device const T* direct [[buffer(3)]], device const T* sum [[buffer(4)]], device const float* mean [[buffer(5)]],
    device const float* rstd [[buffer(6)]], device const T* weight [[buffer(7)]],
    constant NormBackwardArgs& args [[buffer(8)]], uint part [[threadgroup_position_in_grid]],
    uint position [[thread_position_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  // By even and odd steps, simdgroups, rows, the two sums.
  threadgroup float shares[2][norm_simdgroups][norm_rows][2];
  const uint first_row = part * args.rows_per_part;
  const uint rows = min(args.rows_per_part, args.rows - first_row);
  const uint column = position * span_width;
  const bool inside = column < args.columns;
  // A thread beyond the row's end loads the last span and discards it.
  const uint loaded = min(column, args.columns - span_width);
  const float count = float(args.columns);
  float gain[span_width];
  load_aligned(weight + loaded, gain);
  float weight_sums[span_width];
  float bias_sums[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    weight_sums[k] = 0.0f;
    bias_sums[k] = 0.0f;
  }
  uint turn = 0;
  for (uint row = 0; row < rows; row += norm_rows) {
    float gradient[norm_rows * span_width];
    float normal[norm_rows * span_width];
    float shortcut[norm_rows * span_width];
    // Rows past the last one repeat it.
#pragma unroll
    for (uint r = 0; r < norm_rows; ++r) {
      const uint taken = first_row + min(row + r, rows - 1);
      const ulong at = norm_row(args, taken) + loaded;
      load_aligned(dout + at, gradient + r * span_width);
      load_aligned(sum + ulong(taken) * args.columns + loaded, normal + r * span_width);
      load_aligned((args.has_direct != 0 ? direct : dout) + at, shortcut + r * span_width);
    }
    float centres[norm_rows];
    float factors[norm_rows];
#pragma unroll
    for (uint r = 0; r < norm_rows; ++r) {
      const uint at = first_row + min(row + r, rows - 1);
      centres[r] = (args.rms != 0 ? rstd : mean)[at];
      factors[r] = rstd[at];
    }
#pragma unroll
    for (uint r = 0; r < norm_rows; ++r) {
      const bool counts = inside && row + r < rows;
      const float centre = args.rms != 0 ? 0.0f : centres[r];
      const float factor = factors[r];
      float product = 0.0f;
      float total = 0.0f;
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const uint i = r * span_width + k;
        const float raw = counts ? gradient[i] : 0.0f;
        normal[i] = (normal[i] - centre) * factor;
        weight_sums[k] += raw * normal[i];
        bias_sums[k] += raw;
        gradient[i] = raw * (gain[k] + args.weight_offset);
        product += gradient[i] * normal[i];
        total += gradient[i];
      }
      product = simd_sum(product);
      total = simd_sum(total);
      if (lane == 0) {
        shares[turn][simdgroup][r][0] = product;
        shares[turn][simdgroup][r][1] = total;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
    for (uint r = 0; r < norm_rows; ++r) {
      float product = 0.0f;
      float total = 0.0f;
      for (uint other = 0; other < simdgroups; ++other) {
        product += shares[turn][other][r][0];
        total += shares[turn][other][r][1];
      }
      product = product / count;
      total = args.rms != 0 ? 0.0f : total / count;
      if (inside && row + r < rows) {
        float result[span_width];
#pragma unroll
        for (uint k = 0; k < span_width; ++k) {
          const uint i = r * span_width + k;
          result[k] = (gradient[i] - total - normal[i] * product) * factors[r];
          result[k] += args.has_direct != 0 ? shortcut[i] : 0.0f;
        }
        store_aligned(dsum + norm_row(args, first_row + row + r) + column, result);
      }
    }
    turn = 1 - turn;
  }
  if (inside) {
    const ulong at = ulong(part) * 2 * args.columns + column;
    store_aligned(partial + at, weight_sums);
    store_aligned(partial + at + args.columns, bias_sums);
  }
}

MSLT_INSTANTIATE(norm_backward_f32, norm_backward, float)
MSLT_INSTANTIATE(norm_backward_bf16, norm_backward, bfloat)
MSLT_INSTANTIATE(norm_backward_f16, norm_backward, half)

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
  const ulong at_weight = part * 2 * args.columns;
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

// dweight and dbias += the partial sums of their columns, in the order of parts. Threadgroups of 32 columns by
// norm_gradient_rows threads.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]]
kernel void norm_gradient(device T* dweight [[buffer(0)]], device T* dbias [[buffer(1)]],
                          device const float* partial [[buffer(2)]], constant NormGradientArgs& args [[buffer(3)]],
                          uint2 group [[threadgroup_position_in_grid]],
                          uint2 position [[thread_position_in_threadgroup]]) {
  threadgroup float sums[norm_gradient_rows][32];
  const ulong column = ulong(group.x) * 32 + position.x;
  const bool inside = column < args.summed;
  float total = inside ? sum_of_parts<norm_gradient_rows, norm_gradient_ahead>(
                             partial, column, ulong(2) * args.columns, position.y, args.parts)
                       : 0.0f;
  sums[position.y][position.x] = total;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (position.y == 0 && inside) {
    total = 0.0f;
    for (uint k = 0; k < norm_gradient_rows; ++k) {
      total += sums[k][position.x];
    }
    if (column < args.columns) {
      dweight[column] = T(float(dweight[column]) + total);
    } else {
      dbias[column - args.columns] = T(float(dbias[column - args.columns]) + total);
    }
  }
}

MSLT_INSTANTIATE(norm_gradient_f32, norm_gradient, float)
MSLT_INSTANTIATE(norm_gradient_bf16, norm_gradient, bfloat)
MSLT_INSTANTIATE(norm_gradient_f16, norm_gradient, half)
