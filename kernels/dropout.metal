// Dropout: each element's fate is a function of (seed, step, operation, element).
#include <metal_stdlib>

#include "dropout_args.h"
#include "lib/dropout.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// out = in with elements dropped and the others scaled; out may be in. Any threadgroup of one dimension.
template <typename T>
kernel void dropout_elements(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                             device const uint* random_state [[buffer(2)]], constant DropoutArgs& args [[buffer(3)]],
                             uint group [[threadgroup_position_in_grid]],
                             uint position [[thread_position_in_threadgroup]],
                             uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  float values[span_width];
  load_span(in, first, args.count, args.aligned, values);
  drop_span(dropout_stream(random_state, args.operation, args.probability, args.scale), first, values);
  store_span(out, first, args.count, args.aligned, values);
}

MSLT_INSTANTIATE(dropout_f32, dropout_elements, float)
MSLT_INSTANTIATE(dropout_bf16, dropout_elements, bfloat)
MSLT_INSTANTIATE(dropout_f16, dropout_elements, half)
