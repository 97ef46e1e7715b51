// LayerNorm and RMSNorm with the residual addition.
#include <metal_stdlib>

#include "lib/dropout.h"
#include "lib/instantiate.h"
#include "lib/norm_row.h"
#include "lib/span.h"
#include "norm_args.h"

using namespace metal;

// Spans that a lane keeps in registers.
constant constexpr uint norm_kept = 4;

// The most simdgroups that have a row together.
constant constexpr uint norm_most_shares = 8;

// The simdgroups that have a row together: `count`, of which this one is number `index`.
struct RowShare {
  uint index;
  uint count;
};

// The column of a lane's span number `step`.
inline uint norm_column(RowShare share, uint step, uint lane) {
  return (step * share.count + share.index) * norm_step + lane * span_width;
}

// A lane's spans of a row of `columns`, which are whole and aligned. A lane with nothing left to load loads the last
// span again and discards it, so no branch prevents loads from being issued together.
template <typename T>
inline void load_row(device const T* row, uint columns, RowShare share, uint lane, thread float* values) {
#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    load_aligned(row + min(norm_column(share, step, lane), columns - span_width), values + step * span_width);
  }
}

// The sum of all lanes' values of a row, which is the threadgroup's only one if it has several simdgroups.
inline float row_sum(float value, RowShare share, threadgroup float* parts, uint lane) {
  float total = simd_sum(value);
  if (share.count > 1) {
    if (lane == 0) {
      parts[share.index] = total;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    total = 0.0f;
    for (uint k = 0; k < share.count; ++k) {
      total += parts[k];
    }
  }
  return total;
}

// What is normalised is the sum as it is stored: its norm can be computed again from it, bit for bit.
template <typename T>
inline float stored_sum(float residual, float x) {
  return float(T(residual + x));
}

// sum = residual + dropout(x), out = its norm, for rows of at most 1,024 columns a simdgroup, which stay in registers, all
// whole aligned spans. The rows of residual, x and out may be pieces of wider ones. Threadgroups of whole simdgroups, one
// per row, or all for one row if `joint` is 1.
template <typename T, typename W, uint joint>
[[max_total_threads_per_threadgroup(512)]] kernel void norm_forward(
    device T* out [[buffer(0)]], device T* sum [[buffer(1)]], device float* mean [[buffer(2)]],
    device float* rstd [[buffer(3)]], device const T* residual [[buffer(4)]], device const T* x [[buffer(5)]],
    device const W* weight [[buffer(6)]], device const W* bias [[buffer(7)]],
    device const uint* random_state [[buffer(8)]], constant NormForwardArgs& args [[buffer(9)]],
    uint group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float totals[norm_most_shares];
  threadgroup float distances[norm_most_shares];
  const ulong number = joint != 0 ? group : ulong(group) * simdgroups + simdgroup;
  if (number >= args.rows) {
    return;
  }
  // The last rows of the operands were written last, and may be in the cache.
  const ulong row = args.rows - 1 - number;
  RowShare share;
  share.index = joint != 0 ? simdgroup : 0;
  share.count = joint != 0 ? simdgroups : 1;
  const ulong begin = norm_row(args, uint(row));
  const float count = float(args.columns);
  float values[norm_kept * span_width];
  float added[norm_kept * span_width];
  // Without x, the residual is loaded in its place.
  load_row(residual + begin, args.columns, share, lane, values);
  load_row((args.has_x != 0 ? x : residual) + begin, args.columns, share, lane, added);
  if (args.has_x != 0) {
    const DropoutStream dropout =
        dropout_stream(random_state, args.dropout_operation, args.dropout_probability, args.dropout_scale);
#pragma unroll
    for (uint step = 0; step < norm_kept; ++step) {
      const uint at = step * span_width;
      // Random numbers are expensive: none for steps beyond the row.
      if (dropout.dropped != 0 && norm_column(share, step, 0) < args.columns) {
        const ulong block = (begin + norm_column(share, step, lane)) / 4;
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
    if (norm_column(share, step, lane) < args.columns) {
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        total += values[step * span_width + k];
      }
    }
  }
  total = row_sum(total, share, totals, lane);
  // If sum or out is an input, no lane writes before all have loaded, including the last span, which belongs to another
  // lane.
  simdgroup_barrier(mem_flags::mem_device);
  const float centre = args.rms != 0 ? 0.0f : total / count;

  float squares = 0.0f;
#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    if (norm_column(share, step, lane) < args.columns) {
#pragma unroll
      for (uint k = 0; k < span_width; ++k) {
        const float distance = values[step * span_width + k] - centre;
        squares += distance * distance;
      }
    }
  }
  float gain[norm_kept * span_width];
  float offset[norm_kept * span_width];
  load_row(weight, args.columns, share, lane, gain);
  load_row(args.has_bias != 0 ? bias : weight, args.columns, share, lane, offset);
  const float variance = row_sum(squares, share, distances, lane) / count + args.epsilon;
  const float factor = variance == 0.0f ? 0.0f : 1.0f / sqrt(variance);

#pragma unroll
  for (uint step = 0; step < norm_kept; ++step) {
    const uint column = norm_column(share, step, lane);
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
  if (lane == 0 && share.index == 0 && args.has_mean != 0) {
    mean[row] = centre;
  }
  if (lane == 0 && share.index == 0 && args.has_rstd != 0) {
    rstd[row] = factor;
  }
}

MSLT_INSTANTIATE(norm_forward_f32_f32, norm_forward, float, float, 0)
MSLT_INSTANTIATE(norm_forward_f32_bf16, norm_forward, float, bfloat, 0)
MSLT_INSTANTIATE(norm_forward_f32_f16, norm_forward, float, half, 0)
MSLT_INSTANTIATE(norm_forward_bf16_bf16, norm_forward, bfloat, bfloat, 0)
MSLT_INSTANTIATE(norm_forward_f16_f16, norm_forward, half, half, 0)
MSLT_INSTANTIATE(norm_forward_joint_f32_f32, norm_forward, float, float, 1)
MSLT_INSTANTIATE(norm_forward_joint_f32_bf16, norm_forward, float, bfloat, 1)
MSLT_INSTANTIATE(norm_forward_joint_f32_f16, norm_forward, float, half, 1)
MSLT_INSTANTIATE(norm_forward_joint_bf16_bf16, norm_forward, bfloat, bfloat, 1)
MSLT_INSTANTIATE(norm_forward_joint_f16_f16, norm_forward, half, half, 1)

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
