// Shared by the attention kernels: positions of heads in fused rows, and scores of eight queries and up to 32 keys.
#pragma once

#include "attention_args.h"
#include "lib/dropout.h"
#include "lib/fragment.h"
#include "lib/operand.h"
#include "lib/soft_cap.h"
#include "lib/span.h"

// Adjacent fragments of keys (forward, dQ) or queries (dK and dV) processed at a time.
constant constexpr uint attention_fragments = 4;
constant constexpr uint attention_step = 32;

// The offset of a head's part of row 0 of sequence `batch` in qkv, and in out.
inline ulong query_at(constant AttentionArgs& args, uint sequence, uint head) {
  return ulong(sequence) * args.steps * args.columns + ulong(head) * args.head_size;
}

inline ulong key_at(constant AttentionArgs& args, uint sequence, uint kv_head) {
  return query_at(args, sequence, args.heads + kv_head);
}

inline ulong value_at(constant AttentionArgs& args, uint sequence, uint kv_head) {
  return query_at(args, sequence, args.heads + args.kv_heads + kv_head);
}

inline ulong out_at(constant AttentionArgs& args, uint sequence, uint head) {
  return ulong(sequence) * args.steps * args.out_columns + ulong(head) * args.head_size;
}

// Query i sees key j.
inline bool is_visible(constant AttentionArgs& args, uint i, uint j) {
  return i < args.steps && j < args.steps && (args.causal == 0 || (j <= i && i - j < args.window));
}

// The first step of keys that any of the queries from `row` on sees.
inline uint first_step(constant AttentionArgs& args, uint row) {
  return row < args.window ? 0 : (row - args.window + 1) / attention_step * attention_step;
}

// Behind the last query that sees any of the eight keys from `row` on.
inline uint queries_end(constant AttentionArgs& args, uint row) {
  const bool all = args.causal == 0 || args.window >= args.steps;
  return all ? args.steps : min(args.steps, row + fragment_width - 1 + args.window);
}

// A score from a query's product with a key.
inline float score_of(constant AttentionArgs& args, float product) {
  return soft_cap(product * args.scale, args.softcap);
}

// The score's derivative with respect to the product.
inline float score_slope(constant AttentionArgs& args, float score) {
  return soft_cap_slope(score, args.softcap) * args.scale;
}

// The columns of a head that one of `parts` simdgroups has when they share the head.
struct HeadPart {
  uint begin;
  uint width;
};

template <uint parts>
inline HeadPart head_part(constant AttentionArgs& args, uint part) {
  const uint share = (args.head_size + parts * fragment_width - 1) / (parts * fragment_width) * fragment_width;
  HeadPart own;
  own.begin = min(part * share, args.head_size);
  own.width = min(share, args.head_size - own.begin);
  return own;
}

// scores[n] += the products of rows [row, row + 8) of `left` with rows [first + 8n, first + 8n + 8) of `right` in
// columns from d on, for those n whose rows begin before `end`. `whole`: all of the rows and columns exist, aligned.
template <bool whole, typename T>
inline void multiply_columns(thread simdgroup_float8x8* scores, device const T* left, uint left_stride, uint row,
                             device const T* right, uint right_stride, uint first, uint end, uint steps, uint width,
                             uint d, uint lane) {
  constexpr uint each = RunStep<T>::each;
  const uint r = fragment_row(lane);
  const uint c = fragment_column(lane);
  Run<T, 2 * each> run;
  fetch_operand<whole>(left + (ulong(row) * left_stride + d), r, left_stride, each * c,
                       left_in_row(row + r, steps, d + each * c, width), run);
  simdgroup_matrix<T, 8, 8> a[each];
#pragma unroll
  for (uint s = 0; s < each; ++s) {
    put_operand(a[s].thread_elements()[0], run_element(run, s));
    put_operand(a[s].thread_elements()[1], run_element(run, each + s));
  }
#pragma unroll
  for (uint n = 0; n < attention_fragments; ++n) {
    const uint other = first + n * fragment_width;
    if (whole || other < end) {
      device const T* corner = right + (ulong(other) * right_stride + d);
      Run<T, each> runs[2];
#pragma unroll
      for (uint e = 0; e < 2; ++e) {
        fetch_operand<whole>(corner, c + e, right_stride, each * r,
                             left_in_row(other + c + e, steps, d + each * r, width), runs[e]);
      }
#pragma unroll
      for (uint s = 0; s < each; ++s) {
        simdgroup_matrix<T, 8, 8> b;
        put_operand(b.thread_elements()[0], run_element(runs[0], s));
        put_operand(b.thread_elements()[1], run_element(runs[1], s));
        simdgroup_multiply_accumulate(scores[n], a[s], b, scores[n]);
      }
    }
  }
}

// scores[n] = the same over all of `width` columns. Both matrices are [steps, width] with their strides.
template <typename T>
inline void multiply_rows(thread simdgroup_float8x8* scores, device const T* left, uint left_stride, uint row,
                          device const T* right, uint right_stride, uint first, uint end, uint width,
                          constant AttentionArgs& args, uint lane) {
  constexpr uint depth = fragment_width * RunStep<T>::each;
  clear_fragments<attention_fragments>(scores);
  uint d = 0;
  if (args.aligned != 0 && row + fragment_width <= args.steps && first + attention_step <= end) {
    for (; d + depth <= width; d += depth) {
      multiply_columns<true>(scores, left, left_stride, row, right, right_stride, first, end, args.steps, width, d,
                             lane);
    }
  }
  for (; d < width; d += depth) {
    multiply_columns<false>(scores, left, left_stride, row, right, right_stride, first, end, args.steps, width, d,
                            lane);
  }
}

// Values that one simdgroup writes at a time for others that share its head: its products of eight rows and 32.
constant constexpr uint exchange_size = 256;

inline void put_products(thread simdgroup_float8x8* scores, threadgroup float* room, uint lane) {
#pragma unroll
  for (uint i = 0; i < 2 * attention_fragments; ++i) {
    room[i * 32 + lane] = scores[i / 2].thread_elements()[i % 2];
  }
}

// The sum of the values of all parts, in order.
template <uint parts>
inline void take_products(thread simdgroup_float8x8* scores, threadgroup const float* rooms, uint lane) {
#pragma unroll
  for (uint i = 0; i < 2 * attention_fragments; ++i) {
    float sum = rooms[i * 32 + lane];
#pragma unroll
    for (uint part = 1; part < parts; ++part) {
      sum += rooms[part * exchange_size + i * 32 + lane];
    }
    scores[i / 2].thread_elements()[i % 2] = sum;
  }
}

// Sums the products of all parts of a head, identically in each of its simdgroups. Steps alternate between two buffers:
// one is written while a slow simdgroup may still read the other.
template <uint parts>
inline void join_products(thread simdgroup_float8x8* scores, threadgroup float* exchange, uint turn, uint part,
                          uint lane) {
  if (parts > 1) {
    threadgroup float* rooms = exchange + turn * (parts * exchange_size);
    put_products(scores, rooms + part * exchange_size, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    take_products<parts>(scores, rooms, lane);
  }
}

// The same for two kinds of products, with one barrier.
template <uint parts>
inline void join_both(thread simdgroup_float8x8* scores, thread simdgroup_float8x8* slopes, threadgroup float* exchange,
                      uint turn, uint part, uint lane) {
  if (parts > 1) {
    threadgroup float* rooms = exchange + turn * (2 * parts * exchange_size);
    threadgroup float* slope_rooms = rooms + parts * exchange_size;
    put_products(scores, rooms + part * exchange_size, lane);
    put_products(slopes, slope_rooms + part * exchange_size, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    take_products<parts>(scores, rooms, lane);
    take_products<parts>(slopes, slope_rooms, lane);
  }
}

// sums += weights · rows [first, first + 32) of `right`; weights are [8, 32]. Column 4x + j of the 32 starting at 32 ·
// i is column x of sums[4i + j], so a lane has eight neighbours of a row.
template <uint depth, typename T>
inline void add_weighted_rows(thread simdgroup_float8x8* sums, thread simdgroup_float8x8* weights,
                              device const T* right, uint right_stride, uint first, uint end, uint width,
                              constant AttentionArgs& args, uint lane) {
  const uint r = fragment_row(lane);
  const uint c = 4 * fragment_column(lane);
  const bool inside = args.aligned != 0 && first + attention_step <= args.steps;
#pragma unroll
  for (uint n = 0; n < attention_fragments; ++n) {
    const uint row = first + n * fragment_width;
    if (row < end) {
      device const T* corner = right + ulong(row) * right_stride;
#pragma unroll
      for (uint d = 0; d < depth; d += 4) {
        const uint column = d * fragment_width;
        if (column < width) {
          Run<T, 8> run;
          if (inside && column + 32 <= width) {
            fetch_operand<true>(corner, r, right_stride, column + c, 8u, run);
          } else {
            fetch_operand<false>(corner, r, right_stride, column + c,
                                 left_in_row(row + r, args.steps, column + c, width), run);
          }
#pragma unroll
          for (uint j = 0; j < 4; ++j) {
            simdgroup_float8x8 b;
            put_operand(b.thread_elements()[0], run_element(run, j));
            put_operand(b.thread_elements()[1], run_element(run, 4 + j));
            simdgroup_multiply_accumulate(sums[d + j], weights[n], b, sums[d + j]);
          }
        }
      }
    }
  }
}

// Writes factor · sums, in the layout of add_weighted_rows, to rows [row, row + 8) and the first `width` columns of
// `data`.
template <uint depth, typename T>
inline void store_rows(thread simdgroup_float8x8* sums, float factor, device T* data, uint stride, uint row, uint width,
                       constant AttentionArgs& args, uint lane) {
  const uint r = row + fragment_row(lane);
  if (r < args.steps) {
    const ulong begin = ulong(r) * stride;
#pragma unroll
    for (uint d = 0; d < depth; d += 4) {
      float values[span_width];
#pragma unroll
      for (uint j = 0; j < 4; ++j) {
        values[j] = sums[d + j].thread_elements()[0] * factor;
        values[4 + j] = sums[d + j].thread_elements()[1] * factor;
      }
      const ulong first = begin + d * fragment_width + 4 * fragment_column(lane);
      store_span(data, first, begin + width, args.aligned, values);
    }
  }
}
