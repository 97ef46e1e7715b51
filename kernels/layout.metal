// Copies, casts and rearrangements: a span a thread.
#include <metal_stdlib>

#include "layout_args.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// out = in, rounded to nearest even. Any threadgroup of one dimension, as all kernels of SpanArgs.
template <typename T, typename U>
kernel void cast_elements(device U* out [[buffer(0)]], device const T* in [[buffer(1)]],
                          constant SpanArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                          uint position [[thread_position_in_threadgroup]],
                          uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  float values[span_width];
  load_span(in, first, args.count, args.aligned, values);
  store_span(out, first, args.count, args.aligned, values);
}

MSLT_INSTANTIATE(cast_f32_bf16, cast_elements, float, bfloat)
MSLT_INSTANTIATE(cast_f32_f16, cast_elements, float, half)
MSLT_INSTANTIATE(cast_bf16_f32, cast_elements, bfloat, float)
MSLT_INSTANTIATE(cast_f16_f32, cast_elements, half, float)

// out = value.
template <typename T>
kernel void fill_elements(device T* out [[buffer(0)]], constant SpanArgs& args [[buffer(1)]],
                          uint group [[threadgroup_position_in_grid]],
                          uint position [[thread_position_in_threadgroup]],
                          uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  float values[span_width];
  for (uint k = 0; k < span_width; ++k) {
    values[k] = args.value;
  }
  store_span(out, first, args.count, args.aligned, values);
}

MSLT_INSTANTIATE(fill_f32, fill_elements, float)
MSLT_INSTANTIATE(fill_bf16, fill_elements, bfloat)
MSLT_INSTANTIATE(fill_f16, fill_elements, half)

// out += in. out may be in.
template <typename T>
kernel void add_elements(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                         constant SpanArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                         uint position [[thread_position_in_threadgroup]],
                         uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  float values[span_width];
  float added[span_width];
  load_span(out, first, args.count, args.aligned, values);
  load_span(in, first, args.count, args.aligned, added);
  for (uint k = 0; k < span_width; ++k) {
    values[k] += added[k];
  }
  store_span(out, first, args.count, args.aligned, values);
}

MSLT_INSTANTIATE(add_f32, add_elements, float)
MSLT_INSTANTIATE(add_bf16, add_elements, bfloat)
MSLT_INSTANTIATE(add_f16, add_elements, half)

// out = in, byte for byte; `count` is of bytes, a thread copies sixteen.
kernel void copy_bytes(device uchar* out [[buffer(0)]], device const uchar* in [[buffer(1)]],
                       constant SpanArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                       uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * 16;
  if (first >= args.count) {
    return;
  }
  copy_sixteen(out, in, first, args.count, args.aligned);
}

// q, k and v from fused rows. Threadgroups of any width, spans along x and rows along y; groups have rows along x, as
// all kernels below.
template <typename T>
kernel void split_qkv_rows(device T* q [[buffer(0)]], device T* k [[buffer(1)]], device T* v [[buffer(2)]],
                           device const T* qkv [[buffer(3)]], constant QkvArgs& args [[buffer(4)]],
                           uint2 group [[threadgroup_position_in_grid]],
                           uint2 position [[thread_position_in_threadgroup]],
                           uint2 threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(group.x) * threads.y + position.y;
  const ulong first = (ulong(group.y) * threads.x + position.x) * span_width;
  const ulong query = args.query;
  const ulong key = args.key;
  const ulong columns = query + 2 * key;
  if (row >= args.rows || first >= columns) {
    return;
  }
  const ulong from = row * columns;
  const ulong width = args.aligned != 0 ? span_width : 1;
  const ulong last = min(first + span_width, columns);
  for (ulong column = first; column < last; column += width) {
    const ulong end = from + (args.aligned != 0 ? columns : column + 1);
    if (column < query) {
      copy_span(q, row * query + column, qkv, from + column, end, args.aligned);
    } else if (column < query + key) {
      copy_span(k, row * key + column - query, qkv, from + column, end, args.aligned);
    } else {
      copy_span(v, row * key + column - query - key, qkv, from + column, end, args.aligned);
    }
  }
}

MSLT_INSTANTIATE(split_qkv_f32, split_qkv_rows, float)
MSLT_INSTANTIATE(split_qkv_bf16, split_qkv_rows, bfloat)
MSLT_INSTANTIATE(split_qkv_f16, split_qkv_rows, half)

// Fused rows from q, k and v.
template <typename T>
kernel void join_qkv_rows(device T* qkv [[buffer(0)]], device const T* q [[buffer(1)]],
                          device const T* k [[buffer(2)]], device const T* v [[buffer(3)]],
                          constant QkvArgs& args [[buffer(4)]], uint2 group [[threadgroup_position_in_grid]],
                          uint2 position [[thread_position_in_threadgroup]],
                          uint2 threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(group.x) * threads.y + position.y;
  const ulong first = (ulong(group.y) * threads.x + position.x) * span_width;
  const ulong query = args.query;
  const ulong key = args.key;
  const ulong columns = query + 2 * key;
  if (row >= args.rows || first >= columns) {
    return;
  }
  const ulong to = row * columns;
  const ulong width = args.aligned != 0 ? span_width : 1;
  const ulong last = min(first + span_width, columns);
  for (ulong column = first; column < last; column += width) {
    if (column < query) {
      const ulong at = row * query + column;
      copy_span(qkv, to + column, q, at, at + width, args.aligned);
    } else if (column < query + key) {
      const ulong at = row * key + column - query;
      copy_span(qkv, to + column, k, at, at + width, args.aligned);
    } else {
      const ulong at = row * key + column - query - key;
      copy_span(qkv, to + column, v, at, at + width, args.aligned);
    }
  }
}

MSLT_INSTANTIATE(join_qkv_f32, join_qkv_rows, float)
MSLT_INSTANTIATE(join_qkv_bf16, join_qkv_rows, bfloat)
MSLT_INSTANTIATE(join_qkv_f16, join_qkv_rows, half)

// out[m] = in[indices[m]], zeros where there is no such row.
template <typename T>
kernel void gather_rows_of(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                           device const int* indices [[buffer(2)]], constant GatherArgs& args [[buffer(3)]],
                           uint2 group [[threadgroup_position_in_grid]],
                           uint2 position [[thread_position_in_threadgroup]],
                           uint2 threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (row >= args.rows || column >= args.columns) {
    return;
  }
  const int index = indices[row];
  const ulong to = row * args.columns;
  if (index >= 0 && uint(index) < args.source_rows) {
    const ulong from = ulong(index) * args.columns;
    copy_span(out, to + column, in, from + column, from + args.columns, args.aligned);
  } else {
    float zeros[span_width];
    for (uint k = 0; k < span_width; ++k) {
      zeros[k] = 0.0f;
    }
    store_span(out, to + column, to + args.columns, args.aligned, zeros);
  }
}

MSLT_INSTANTIATE(gather_rows_f32, gather_rows_of, float)
MSLT_INSTANTIATE(gather_rows_bf16, gather_rows_of, bfloat)
MSLT_INSTANTIATE(gather_rows_f16, gather_rows_of, half)
