// Copies, casts and rearrangements: one span per thread.
#include <metal_stdlib>

#include "layout_args.h"
#include "lib/float_bits.h"
#include "lib/instantiate.h"
#include "lib/run.h"
#include "lib/span.h"

using namespace metal;

// out = in, rounded to nearest even, including subnormals. Any threadgroup of one dimension, as in all kernels of
// SpanArgs.
template <typename T, typename U>
kernel void cast_elements(device U* out [[buffer(0)]], device const T* in [[buffer(1)]],
                          constant SpanArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                          uint position [[thread_position_in_threadgroup]],
                          uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  const uint left = uint(min(args.count - first, ulong(span_width)));
  const bool whole = args.aligned != 0 && left == span_width;
  Run<T, span_width> from;
  if (whole) {
    fetch_run(in + first, from);
  } else {
    fetch_run_before(in + first, left, from);
  }
  Run<U, span_width> to;
  clear_run(to);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    U element;
    round_bits(float_bits(run_element(from, k)), element);
    put_in_run(to, k, element);
  }
  if (whole) {
    store_run(out + first, to);
  } else {
    store_run_before(out + first, left, to);
  }
}

MSLT_INSTANTIATE(cast_f32_bf16, cast_elements, float, bfloat)
MSLT_INSTANTIATE(cast_f32_f16, cast_elements, float, half)
MSLT_INSTANTIATE(cast_bf16_f32, cast_elements, bfloat, float)
MSLT_INSTANTIATE(cast_f16_f32, cast_elements, half, float)

// out = a pattern of four bytes; `count` is in bytes, a thread writes sixteen.
kernel void fill_bytes(device uchar* out [[buffer(0)]], constant FillArgs& args [[buffer(1)]],
                       uint group [[threadgroup_position_in_grid]],
                       uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * 16;
  if (first >= args.count) {
    return;
  }
  fill_sixteen(out, first, args.count, args.aligned, args.pattern);
}

// out += in. out may be in.
template <typename T, typename V>
kernel void add_elements(device T* out [[buffer(0)]], device const V* in [[buffer(1)]],
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
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    values[k] += added[k];
  }
  store_span(out, first, args.count, args.aligned, values);
}

MSLT_INSTANTIATE(add_f32, add_elements, float, float)
MSLT_INSTANTIATE(add_f32_bf16, add_elements, float, bfloat)
MSLT_INSTANTIATE(add_f32_f16, add_elements, float, half)
MSLT_INSTANTIATE(add_bf16, add_elements, bfloat, bfloat)
MSLT_INSTANTIATE(add_f16, add_elements, half, half)

// out = in, byte for byte; `count` is in bytes, a thread copies sixteen.
kernel void copy_bytes(device uchar* out [[buffer(0)]], device const uchar* in [[buffer(1)]],
                       constant SpanArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                       uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * 16;
  if (first >= args.count) {
    return;
  }
  copy_sixteen(out, in, first, args.count, args.aligned);
}

// out[m] = in[indices[m]], zeros if there is no such row. Columns have 16 bits, two for each f32 element. Threadgroups
// of any width, spans along x and rows along y; in the grid, rows are along x.
kernel void gather_rows(device ushort* out [[buffer(0)]], device const ushort* in [[buffer(1)]],
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
    for (ulong i = column; i < min(column + span_width, ulong(args.columns)); ++i) {
      out[to + i] = 0;
    }
  }
}
