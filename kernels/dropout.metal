// Dropout: whether an element is kept is a function of (seed, step, operation, element).
#include <metal_stdlib>

#include "dropout_args.h"
#include "lib/dropout.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// out = in with elements dropped and the others scaled; out may be in. Any threadgroup of one dimension; a thread has
// two spans, separated by the number of threads.
template <typename T>
kernel void dropout_elements(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                             device const uint* random_state [[buffer(2)]], constant DropoutArgs& args [[buffer(3)]],
                             uint group [[threadgroup_position_in_grid]],
                             uint position [[thread_position_in_threadgroup]],
                             uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * 2 * threads + position) * span_width;
  const ulong second = first + ulong(threads) * span_width;
  const DropoutStream stream = dropout_stream(random_state, args.operation, args.probability, args.scale);
  float low[span_width];
  float high[span_width];
  if (args.aligned != 0 && second + span_width <= args.count) {
    load_aligned(in + first, low);
    load_aligned(in + second, high);
    drop_span(stream, first, low);
    drop_span(stream, second, high);
    store_aligned(out + first, low);
    store_aligned(out + second, high);
    return;
  }
  for (ulong at = first; at <= second && at < args.count; at += ulong(threads) * span_width) {
    load_span(in, at, args.count, args.aligned, low);
    drop_span(stream, at, low);
    store_span(out, at, args.count, args.aligned, low);
  }
}

MSLT_INSTANTIATE(dropout_f32, dropout_elements, float)
MSLT_INSTANTIATE(dropout_bf16, dropout_elements, bfloat)
MSLT_INSTANTIATE(dropout_f16, dropout_elements, half)
