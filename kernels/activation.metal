// GELU, ReLU, SwiGLU and GeGLU, forward and backward: one span per thread.
#include <metal_stdlib>

#include "activation_args.h"
#include "lib/activation.h"
#include "lib/instantiate.h"
#include "lib/span.h"

using namespace metal;

// The kinds of elementwise activations.
constant constexpr uint activation_gelu = 0;
constant constexpr uint activation_relu = 1;
constant constexpr uint activation_gelu_erf = 2;

// out = activation(in). Any threadgroup of one dimension.
template <typename T, uint kind>
kernel void activation_forward(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                               constant ActivationArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
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
    if (kind == activation_gelu) {
      x[k] = gelu(x[k]);
    } else if (kind == activation_gelu_erf) {
      x[k] = gelu_erf(x[k]);
    } else {
      x[k] = x[k] < 0.0f ? 0.0f : x[k];
    }
  }
  store_span(out, first, args.count, args.aligned, x);
}

MSLT_INSTANTIATE(gelu_forward_f32, activation_forward, float, activation_gelu)
MSLT_INSTANTIATE(gelu_forward_bf16, activation_forward, bfloat, activation_gelu)
MSLT_INSTANTIATE(gelu_forward_f16, activation_forward, half, activation_gelu)
MSLT_INSTANTIATE(gelu_erf_forward_f32, activation_forward, float, activation_gelu_erf)
MSLT_INSTANTIATE(gelu_erf_forward_bf16, activation_forward, bfloat, activation_gelu_erf)
MSLT_INSTANTIATE(gelu_erf_forward_f16, activation_forward, half, activation_gelu_erf)
MSLT_INSTANTIATE(relu_forward_f32, activation_forward, float, activation_relu)
MSLT_INSTANTIATE(relu_forward_bf16, activation_forward, bfloat, activation_relu)
MSLT_INSTANTIATE(relu_forward_f16, activation_forward, half, activation_relu)

// din = dout · activation'(in). din may be dout.
template <typename T, uint kind>
kernel void activation_backward(device T* din [[buffer(0)]], device const T* dout [[buffer(1)]],
                                device const T* in [[buffer(2)]], constant ActivationArgs& args [[buffer(3)]],
                                uint group [[threadgroup_position_in_grid]],
                                uint position [[thread_position_in_threadgroup]],
                                uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count) {
    return;
  }
  float x[span_width];
  float gradient[span_width];
  load_span(in, first, args.count, args.aligned, x);
  load_span(dout, first, args.count, args.aligned, gradient);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    if (kind == activation_gelu) {
      gradient[k] *= gelu_derivative(x[k]);
    } else if (kind == activation_gelu_erf) {
      gradient[k] *= gelu_erf_derivative(x[k]);
    } else {
      gradient[k] = x[k] > 0.0f ? gradient[k] : 0.0f;
    }
  }
  store_span(din, first, args.count, args.aligned, gradient);
}

MSLT_INSTANTIATE(gelu_backward_f32, activation_backward, float, activation_gelu)
MSLT_INSTANTIATE(gelu_backward_bf16, activation_backward, bfloat, activation_gelu)
MSLT_INSTANTIATE(gelu_backward_f16, activation_backward, half, activation_gelu)
MSLT_INSTANTIATE(gelu_erf_backward_f32, activation_backward, float, activation_gelu_erf)
MSLT_INSTANTIATE(gelu_erf_backward_bf16, activation_backward, bfloat, activation_gelu_erf)
MSLT_INSTANTIATE(gelu_erf_backward_f16, activation_backward, half, activation_gelu_erf)
MSLT_INSTANTIATE(relu_backward_f32, activation_backward, float, activation_relu)
MSLT_INSTANTIATE(relu_backward_bf16, activation_backward, bfloat, activation_relu)
MSLT_INSTANTIATE(relu_backward_f16, activation_backward, half, activation_relu)

// What multiplies `up` in gated activations.
constant constexpr uint gate_silu = 0;
constant constexpr uint gate_gelu = 1;

// out = silu(gate) · up, or gelu(gate) · up. Threadgroups of any width, spans along x and rows along y; in the grid,
// rows are along x. The last rows come first: they were written last, and may be in the cache.
template <typename T, uint kind>
kernel void gated_forward(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                          constant GatedArgs& args [[buffer(2)]], uint2 group [[threadgroup_position_in_grid]],
                          uint2 position [[thread_position_in_threadgroup]],
                          uint2 threads [[threads_per_threadgroup]]) {
  const ulong number = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (number >= args.rows || column >= args.columns) {
    return;
  }
  const ulong begin = (args.rows - 1 - number) * args.columns;
  const ulong gate_at = 2 * begin;
  const ulong up_at = gate_at + args.columns;
  float gate[span_width];
  float up[span_width];
  load_span(in, gate_at + column, up_at, args.aligned, gate);
  load_span(in, up_at + column, up_at + args.columns, args.aligned, up);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    gate[k] = (kind == gate_silu ? silu(gate[k]) : gelu(gate[k])) * up[k];
  }
  store_span(out, begin + column, begin + args.columns, args.aligned, gate);
}

MSLT_INSTANTIATE(swiglu_forward_f32, gated_forward, float, gate_silu)
MSLT_INSTANTIATE(swiglu_forward_bf16, gated_forward, bfloat, gate_silu)
MSLT_INSTANTIATE(swiglu_forward_f16, gated_forward, half, gate_silu)
MSLT_INSTANTIATE(geglu_forward_f32, gated_forward, float, gate_gelu)
MSLT_INSTANTIATE(geglu_forward_bf16, gated_forward, bfloat, gate_gelu)
MSLT_INSTANTIATE(geglu_forward_f16, gated_forward, half, gate_gelu)

// The gradients of gate and up; din may be in. Shapes as in the forward pass.
template <typename T, uint kind>
kernel void gated_backward(device T* din [[buffer(0)]], device const T* dout [[buffer(1)]],
                           device const T* in [[buffer(2)]], constant GatedArgs& args [[buffer(3)]],
                           uint2 group [[threadgroup_position_in_grid]],
                           uint2 position [[thread_position_in_threadgroup]],
                           uint2 threads [[threads_per_threadgroup]]) {
  const ulong number = ulong(group.x) * threads.y + position.y;
  const ulong column = (ulong(group.y) * threads.x + position.x) * span_width;
  if (number >= args.rows || column >= args.columns) {
    return;
  }
  const ulong begin = (args.rows - 1 - number) * args.columns;
  const ulong gate_at = 2 * begin;
  const ulong up_at = gate_at + args.columns;
  float gate[span_width];
  float up[span_width];
  float gradient[span_width];
  load_span(in, gate_at + column, up_at, args.aligned, gate);
  load_span(in, up_at + column, up_at + args.columns, args.aligned, up);
  load_span(dout, begin + column, begin + args.columns, args.aligned, gradient);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    const float upstream = gradient[k];
    gradient[k] = upstream * up[k] * (kind == gate_silu ? silu_derivative(gate[k]) : gelu_derivative(gate[k]));
    up[k] = upstream * (kind == gate_silu ? silu(gate[k]) : gelu(gate[k]));
  }
  store_span(din, gate_at + column, up_at, args.aligned, gradient);
  store_span(din, up_at + column, up_at + args.columns, args.aligned, up);
}

MSLT_INSTANTIATE(swiglu_backward_f32, gated_backward, float, gate_silu)
MSLT_INSTANTIATE(swiglu_backward_bf16, gated_backward, bfloat, gate_silu)
MSLT_INSTANTIATE(swiglu_backward_f16, gated_backward, half, gate_silu)
MSLT_INSTANTIATE(geglu_backward_f32, gated_backward, float, gate_gelu)
MSLT_INSTANTIATE(geglu_backward_bf16, gated_backward, bfloat, gate_gelu)
MSLT_INSTANTIATE(geglu_backward_f16, gated_backward, half, gate_gelu)
