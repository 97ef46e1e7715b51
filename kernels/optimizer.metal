// The gradients' norm and AdamW.
#include <metal_stdlib>

#include "lib/group_reduce.h"
#include "lib/instantiate.h"
#include "lib/philox.h"
#include "lib/raw_span.h"
#include "optimizer_args.h"

using namespace metal;

// Squares of large and small numbers are summed separately, scaled by powers of two, so none overflows or underflows
// (Blue, "A portable Fortran program to find the Euclidean norm of a vector", 1978).
constant constexpr float large_bound = 0x1p50f;
constant constexpr float large_scale = 0x1p-80f;
constant constexpr float small_bound = 0x1p-50f;
constant constexpr float small_scale = 0x1p75f;

struct Squares {
  float large;
  float middle;
  float small;
};

inline void add_square(thread Squares& sums, float x) {
  const float size = fabs(x);
  if (size > large_bound) {
    sums.large += (x * large_scale) * (x * large_scale);
  } else if (size < small_bound) {
    sums.small += (x * small_scale) * (x * small_scale);
  } else {
    // NaN is counted here as well.
    sums.middle += x * x;
  }
}

// The square root of all three. The largest kind present determines it; smaller ones are added where they matter.
inline float root_of(Squares sums) {
  if (sums.large > 0.0f) {
    const float middle = sums.middle * large_scale * large_scale;
    return sqrt(sums.large + middle) / large_scale;
  }
  if (sums.middle > 0.0f) {
    return sqrt(sums.middle + sums.small / small_scale / small_scale);
  }
  // NaN is neither above nor equal to zero.
  return sums.middle == 0.0f ? sqrt(sums.small) / small_scale : sums.middle;
}

// Spans in flight per thread.
template <typename T>
struct SquareBatch {
  static constant constexpr uint size = 8 / sizeof(T);
};

// Adds the squares of a batch of spans. Usually the largest element is in the middle range, and every square is added
// directly: what underflows is below the last bit of the sum. NaN is in no maximum, but in the sum.
template <uint size, typename T>
inline void add_squares(thread Squares& sums, thread float* middle, thread const Run<T, span_width>* batch) {
  float values[size * span_width];
  float largest = 0.0f;
#pragma unroll
  for (uint j = 0; j < size; ++j) {
    unpack_raw(batch[j], values + j * span_width);
  }
#pragma unroll
  for (uint k = 0; k < size * span_width; ++k) {
    largest = fmax(largest, fabs(values[k]));
  }
  if (largest <= large_bound && (largest >= small_bound || largest == 0.0f)) {
#pragma unroll
    for (uint k = 0; k < size * span_width; ++k) {
      middle[k % span_width] = fma(values[k], values[k], middle[k % span_width]);
    }
  } else {
#pragma unroll
    for (uint k = 0; k < size * span_width; ++k) {
      add_square(sums, values[k]);
    }
  }
}

// sums[kind][group] = Σ g² of the group's elements.
template <typename T>
[[max_total_threads_per_threadgroup(1024)]] kernel void norm_squares(
    device float* sums [[buffer(0)]], device const T* gradients [[buffer(1)]],
    constant NormSquaresArgs& args [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
    uint groups [[threadgroups_per_grid]], uint position [[thread_position_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float large[max_simdgroups];
  threadgroup float middle[max_simdgroups];
  threadgroup float small[max_simdgroups];
  constexpr uint batch = SquareBatch<T>::size;
  const ulong stride = ulong(threads) * span_width;
  const ulong piece = batch * stride;
  Squares squares = {0.0f, 0.0f, 0.0f};
  float sums_of_eight[span_width];
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    sums_of_eight[k] = 0.0f;
  }
  Run<T, span_width> spans[batch];
  // Concurrent groups read neighbouring memory.
  for (ulong begin = group * piece; begin < args.count; begin += groups * piece) {
    const ulong first = begin + position * span_width;
    if (args.aligned != 0 && begin + piece <= args.count) {
#pragma unroll
      for (uint j = 0; j < batch; ++j) {
        fetch_run(gradients + first + j * stride, spans[j]);
      }
      add_squares<batch>(squares, sums_of_eight, spans);
    } else {
      for (ulong i = first; i < min(begin + piece, args.count); i += stride) {
        fetch_span(gradients, i, args.count, args.aligned, spans[0]);
        add_squares<1>(squares, sums_of_eight, spans);
      }
    }
  }
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    squares.middle += sums_of_eight[k];
  }
  squares.large = group_sum(squares.large, large, simdgroup, lane, simdgroups);
  squares.middle = group_sum(squares.middle, middle, simdgroup, lane, simdgroups);
  squares.small = group_sum(squares.small, small, simdgroup, lane, simdgroups);
  if (position == 0) {
    sums[group] = squares.large;
    sums[groups + group] = squares.middle;
    sums[2 * groups + group] = squares.small;
  }
}

MSLT_INSTANTIATE(norm_squares_f32, norm_squares, float)
MSLT_INSTANTIATE(norm_squares_bf16, norm_squares, bfloat)
MSLT_INSTANTIATE(norm_squares_f16, norm_squares, half)

// out = the square root of the sums of all groups. One threadgroup.
[[max_total_threads_per_threadgroup(1024)]] kernel void norm_root_f32(
    device float* out [[buffer(0)]], device const float* sums [[buffer(1)]], constant NormRootArgs& args [[buffer(2)]],
    uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float large[max_simdgroups];
  threadgroup float middle[max_simdgroups];
  threadgroup float small[max_simdgroups];
  Squares squares = {0.0f, 0.0f, 0.0f};
  for (uint i = position; i < args.groups; i += threads) {
    squares.large += sums[i];
    squares.middle += sums[args.groups + i];
    squares.small += sums[2 * args.groups + i];
  }
  if (position == 0 && args.accumulate != 0) {
    add_square(squares, out[0]);
  }
  squares.large = group_sum(squares.large, large, simdgroup, lane, simdgroups);
  squares.middle = group_sum(squares.middle, middle, simdgroup, lane, simdgroups);
  squares.small = group_sum(squares.small, small, simdgroup, lane, simdgroups);
  if (position == 0) {
    out[0] = root_of(squares);
  }
}

// The elements of `state`; as AdamWState of backend/operations/optimizer.h.
constant constexpr uint state_learning_rate = 0;
constant constexpr uint state_correction1 = 1;
constant constexpr uint state_correction2 = 2;
constant constexpr uint state_gradient_scale = 3;
constant constexpr uint state_max_norm = 4;

// The factor of the gradients: their scale times that of clipping.
inline float clipped_scale(device const float* state, float norm) {
  const float scale = state[state_gradient_scale];
  const float max_norm = state[state_max_norm];
  const float length = norm * scale + 1e-6f;
  return max_norm > 0.0f && length > max_norm ? scale * (max_norm / length) : scale;
}

// One element; every product and sum is rounded separately, in the order of AdamWUpdate's formula
// (backend/operations/optimizer.h).
inline float adamw_element(float p, float gradient, thread float& m, thread float& v, float scale,
                           device const float* state, constant AdamWArgs& args) {
  const float g = gradient * scale;
  m = args.beta1 * m + (1.0f - args.beta1) * g;
  v = args.beta2 * v + (1.0f - args.beta2) * (g * g);
  const float divisor = sqrt(v * state[state_correction2]) + args.epsilon;
  const float update = divisor == 0.0f ? 0.0f : m * state[state_correction1] / divisor;
  return p - state[state_learning_rate] * (update + args.weight_decay * p);
}

// The span of parameters in `p` after the step; moments are updated in memory.
template <typename G>
inline void adamw_span(thread float* p, device const G* gradients, device float* first_moment,
                       device float* second_moment, device const float* state, float norm, ulong first,
                       constant AdamWArgs& args) {
  float g[span_width];
  float m[span_width];
  float v[span_width];
  load_span(gradients, first, args.count, args.aligned, g);
  load_span(first_moment, first, args.count, args.aligned, m);
  load_span(second_moment, first, args.count, args.aligned, v);
  const float scale = clipped_scale(state, norm);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    p[k] = adamw_element(p[k], g[k], m[k], v[k], scale, state, args);
  }
  store_span(first_moment, first, args.count, args.aligned, m);
  store_span(second_moment, first, args.count, args.aligned, v);
}

// One step on the parameters themselves; writes nothing if the norm is not finite. Any threadgroup of one dimension.
template <typename T, typename G>
kernel void adamw_step(device T* parameters [[buffer(0)]], device const G* gradients [[buffer(1)]],
                       device float* first_moment [[buffer(2)]], device float* second_moment [[buffer(3)]],
                       device const float* state [[buffer(4)]], device const float* norm [[buffer(5)]],
                       constant AdamWArgs& args [[buffer(6)]], uint group [[threadgroup_position_in_grid]],
                       uint position [[thread_position_in_threadgroup]], uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count || !isfinite(norm[0])) {
    return;
  }
  float p[span_width];
  load_span(parameters, first, args.count, args.aligned, p);
  adamw_span(p, gradients, first_moment, second_moment, state, norm[0], first, args);
  store_span(parameters, first, args.count, args.aligned, p);
}

MSLT_INSTANTIATE(adamw_f32, adamw_step, float, float)
MSLT_INSTANTIATE(adamw_bf16, adamw_step, bfloat, bfloat)
MSLT_INSTANTIATE(adamw_bf16_f32, adamw_step, bfloat, float)
MSLT_INSTANTIATE(adamw_f16, adamw_step, half, half)
MSLT_INSTANTIATE(adamw_f16_f32, adamw_step, half, float)

// One step on the master weights; the parameters get the rounded values.
template <typename T, typename G>
kernel void adamw_master_step(device T* parameters [[buffer(0)]], device const G* gradients [[buffer(1)]],
                              device float* first_moment [[buffer(2)]], device float* second_moment [[buffer(3)]],
                              device const float* state [[buffer(4)]], device const float* norm [[buffer(5)]],
                              constant AdamWArgs& args [[buffer(6)]], device float* master [[buffer(7)]],
                              uint group [[threadgroup_position_in_grid]],
                              uint position [[thread_position_in_threadgroup]],
                              uint threads [[threads_per_threadgroup]]) {
  const ulong first = (ulong(group) * threads + position) * span_width;
  if (first >= args.count || !isfinite(norm[0])) {
    return;
  }
  float p[span_width];
  load_span(master, first, args.count, args.aligned, p);
  adamw_span(p, gradients, first_moment, second_moment, state, norm[0], first, args);
  store_span(master, first, args.count, args.aligned, p);
  store_span(parameters, first, args.count, args.aligned, p);
}

MSLT_INSTANTIATE(adamw_master_bf16, adamw_master_step, bfloat, bfloat)
MSLT_INSTANTIATE(adamw_master_bf16_f32, adamw_master_step, bfloat, float)
MSLT_INSTANTIATE(adamw_master_f16, adamw_master_step, half, half)
MSLT_INSTANTIATE(adamw_master_f16_f32, adamw_master_step, half, float)

// x rounded to bf16 by 16 random bits; what is not finite stays.
inline float rounded_at_random(float x, uint random) {
  const uint bits = as_type<uint>(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return as_type<float>(finite ? (bits + random) & 0xffff0000u : bits);
}

// One step on bf16 parameters, rounded at random: a block of random numbers serves a span.
template <typename G>
kernel void adamw_stochastic_step(device bfloat* parameters [[buffer(0)]], device const G* gradients [[buffer(1)]],
                                  device float* first_moment [[buffer(2)]], device float* second_moment [[buffer(3)]],
                                  device const float* state [[buffer(4)]], device const float* norm [[buffer(5)]],
                                  constant AdamWArgs& args [[buffer(6)]],
                                  device const uint* random_state [[buffer(7)]],
                                  uint group [[threadgroup_position_in_grid]],
                                  uint position [[thread_position_in_threadgroup]],
                                  uint threads [[threads_per_threadgroup]]) {
  const ulong span = ulong(group) * threads + position;
  const ulong first = span * span_width;
  if (first >= args.count || !isfinite(norm[0])) {
    return;
  }
  float p[span_width];
  load_span(parameters, first, args.count, args.aligned, p);
  adamw_span(p, gradients, first_moment, second_moment, state, norm[0], first, args);
  const uint4 words = philox_block(uint2(random_state[0], random_state[1]), random_state[2], args.operation,
                                   args.first_block + span);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    const uint word = philox_word_of(words, k / 2);
    p[k] = rounded_at_random(p[k], (k & 1u) == 0 ? word & 0xffffu : word >> 16);
  }
  store_span(parameters, first, args.count, args.aligned, p);
}

MSLT_INSTANTIATE(adamw_stochastic_bf16, adamw_stochastic_step, bfloat)
MSLT_INSTANTIATE(adamw_stochastic_bf16_f32, adamw_stochastic_step, float)
