// Rotary position embedding in the half rotation: (x[i], x[i + D/2]) turn by position · inverse_frequencies[i].
#include <metal_stdlib>

#include "lib/instantiate.h"
#include "lib/span.h"
#include "rope_args.h"

using namespace metal;

// Turns the queries and keys of qkv, in place. A thread has one span of pairs of a row and computes its angles once for
// all heads. Threadgroups of any width, spans along x and rows along y; groups have rows along x.
template <typename T>
kernel void rope_rows(device T* qkv [[buffer(0)]], device const float* inverse_frequencies [[buffer(1)]],
                      device const int* first [[buffer(2)]], constant RopeArgs& args [[buffer(3)]],
                      uint2 group [[threadgroup_position_in_grid]], uint2 position [[thread_position_in_threadgroup]],
                      uint2 threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(group.x) * threads.y + position.y;
  const ulong pair = (ulong(group.y) * threads.x + position.x) * span_width;
  if (row >= args.rows || pair >= args.half_size) {
    return;
  }
  const uint sequence = uint(row) / args.steps;
  const long start = args.has_first != 0 ? long(first[sequence]) : 0;
  const float place = float(long(uint(row) % args.steps) + start);
  float cosine[span_width];
  float sine[span_width];
  for (uint k = 0; k < span_width; ++k) {
    const float angle = pair + k < args.half_size ? place * inverse_frequencies[pair + k] : 0.0f;
    // Angles reach far beyond the range of the fast functions.
    cosine[k] = precise::cos(angle);
    sine[k] = precise::sin(angle) * args.direction;
  }
  const ulong begin = row * args.columns;
  for (uint head = 0; head < args.heads; ++head) {
    const ulong low_at = begin + ulong(head) * 2 * args.half_size;
    const ulong high_at = low_at + args.half_size;
    const ulong end = high_at + args.half_size;
    float low[span_width];
    float high[span_width];
    load_span(qkv, low_at + pair, high_at, args.aligned, low);
    load_span(qkv, high_at + pair, end, args.aligned, high);
    for (uint k = 0; k < span_width; ++k) {
      const float x = low[k];
      const float y = high[k];
      low[k] = x * cosine[k] - y * sine[k];
      high[k] = y * cosine[k] + x * sine[k];
    }
    store_span(qkv, low_at + pair, high_at, args.aligned, low);
    store_span(qkv, high_at + pair, end, args.aligned, high);
  }
}

MSLT_INSTANTIATE(rope_f32, rope_rows, float)
MSLT_INSTANTIATE(rope_bf16, rope_rows, bfloat)
MSLT_INSTANTIATE(rope_f16, rope_rows, half)
