// Products of few rows with a plain or quantised weight, bound by reading the weight once.
#include <metal_stdlib>

#include "lib/activate.h"
#include "lib/any_float.h"
#include "lib/instantiate.h"
#include "lib/lane_sums.h"
#include "lib/weight_chunk.h"
#include "matvec_args.h"
#include "target/overlap.h"

using namespace metal;

// How a simdgroup goes over the weight: `each` chunks of other rows beside `depth` of the same row are in flight in a
// lane, for `count` rows of the input.
template <typename W, uint count>
struct MatvecShape {
  static constant constexpr uint each = WeightChunk<W>::spans == 4 && count > 1 ? 2 : 4;
  static constant constexpr uint depth = count == 1 && sizeof(W) < 4 ? 2 : 1;
  // Rows of the weight that lie side by side in a simdgroup, and all it has.
  static constant constexpr uint beside = 32 / WeightChunk<W>::lanes;
  static constant constexpr uint columns = each * beside;
};

// The norm of the input's rows: (x - centre) · factor · gain + offset.
template <uint count>
struct RowNorms {
  float centres[count];
  float factors[count];
};

// Spans of a row that a lane keeps while it computes the norm.
constant constexpr uint kept_spans = 4;

// The sum of a lane's elements of a row, or of their squared distances from `centre`. A row of up to kept_spans · 256
// elements was read to `kept` at once, so that the loads do not wait for each other.
template <bool squared, typename T>
inline float lane_total(device const T* in, thread const float* kept, float centre, uint lane, uint inner) {
  float total = 0.0f;
  if (inner <= kept_spans * 32 * span_width) {
#pragma unroll
    for (uint i = 0; i < kept_spans * span_width; ++i) {
      const float distance = kept[i] - centre;
      if ((i / span_width * 32 + lane) * span_width < inner) {
        total += squared ? distance * distance : kept[i];
      }
    }
    return total;
  }
  for (uint k = lane * span_width; k < inner; k += 32 * span_width) {
    float values[span_width];
    load_aligned(in + k, values);
#pragma unroll
    for (uint e = 0; e < span_width; ++e) {
      const float distance = values[e] - centre;
      total += squared ? distance * distance : values[e];
    }
  }
  return total;
}

// Each simdgroup reads the rows for itself: no threadgroup has to wait for another.
template <uint count, typename T>
inline void norms_of_rows(device const T* in, uint row, uint lane, constant MatvecArgs& args,
                          thread RowNorms<count>& norms) {
  const float length = float(args.inner);
#pragma unroll
  for (uint r = 0; r < count; ++r) {
    device const T* const x = in + ulong(min(row + r, args.rows - 1)) * args.inner;
    float kept[kept_spans * span_width];
#pragma unroll
    for (uint s = 0; s < kept_spans; ++s) {
      load_span(x, (s * 32 + lane) * span_width, args.inner, 1u, kept + s * span_width);
    }
    const float total = args.norm == 1 ? lane_total<false>(x, kept, 0.0f, lane, args.inner) : 0.0f;
    const float centre = simd_sum(total) / length;
    const float squares = lane_total<true>(x, kept, centre, lane, args.inner);
    const float variance = simd_sum(squares) / length + args.epsilon;
    norms.centres[r] = centre;
    norms.factors[r] = variance == 0.0f ? 0.0f : 1.0f / sqrt(variance);
  }
}

// The norm's gain and offset along a span.
struct NormSpan {
  AnySpan gain;
  AnySpan offset;
};

inline void fetch_norm_span(device const uchar* gain, device const uchar* offset, uint k, constant MatvecArgs& args,
                            thread NormSpan& span) {
  fetch_any_span(gain, args.norm_type, k, span.gain);
  if (args.has_norm_bias != 0) {
    fetch_any_span(offset, args.norm_type, k, span.offset);
  }
}

// x [count · span_width] = the norm of a span of each row, where there is one.
template <uint count>
inline void normalize_spans(thread float* x, thread const RowNorms<count>& norms, thread const NormSpan& span,
                            constant MatvecArgs& args) {
  float values[span_width];
  unpack_any_span(span.gain, args.norm_type, values);
#pragma unroll
  for (uint i = 0; i < count * span_width; ++i) {
    const uint r = i / span_width;
    x[i] = (x[i] - norms.centres[r]) * norms.factors[r] * (values[i % span_width] + args.weight_offset);
  }
  if (args.has_norm_bias != 0) {
    unpack_any_span(span.offset, args.norm_type, values);
#pragma unroll
    for (uint i = 0; i < count * span_width; ++i) {
      x[i] += values[i % span_width];
    }
  }
}

// Where a lane's chunk d from element k on starts; past the row's end somewhere in the row, which is not used.
inline uint chunk_start(uint k, uint d, uint inner) {
  const uint at = k + d * weight_step;
  return at < inner ? at : k < inner ? k : 0;
}

// A lane's chunks from element k of its rows on, and what a norm takes along them if they are one span each.
template <uint each, uint depth, typename W>
inline void fetch_chunks(device const W* weight, device const half* scales, device const uchar* gain,
                         device const uchar* offset, thread const ulong* starts, uint k, constant MatvecArgs& args,
                         thread WeightChunk<W>* chunks, thread NormSpan* norm_spans) {
#pragma unroll
  for (uint d = 0; d < depth; ++d) {
#pragma unroll
    for (uint c = 0; c < each; ++c) {
      fetch_chunk(weight, scales, starts[c] + chunk_start(k, d, args.inner), chunks[d * each + c]);
    }
  }
  if (WeightChunk<W>::spans == 1 && args.norm != 0) {
#pragma unroll
    for (uint d = 0; d < depth; ++d) {
      fetch_norm_span(gain, offset, chunk_start(k, d, args.inner), args, norm_spans[d]);
    }
  }
}

// sums[r · each + c] += the products of a lane's chunks, from element k of its rows on, with row `row` + r of the
// input.
template <uint count, uint each, uint depth, typename T, typename W>
inline void add_products(thread float* sums, thread const WeightChunk<W>* chunks, thread const NormSpan* norm_spans,
                         device const T* in, uint k, uint row, thread const RowNorms<count>& norms,
                         device const uchar* gain, device const uchar* offset, constant MatvecArgs& args) {
  constexpr uint spans = WeightChunk<W>::spans;
#pragma unroll
  for (uint d = 0; d < depth; ++d) {
    if (k + d * weight_step >= args.inner) {
      continue;
    }
    float parts[count * each];
#pragma unroll
    for (uint i = 0; i < count * each; ++i) {
      parts[i] = WeightChunk<W>::has_scale ? 0.0f : sums[i];
    }
    // Of the input along the chunk, for its minimum.
    float totals[count];
#pragma unroll
    for (uint r = 0; r < count; ++r) {
      totals[r] = 0.0f;
    }
#pragma unroll
    for (uint s = 0; s < spans; ++s) {
      Run<T, span_width> raw[count];
      float x[count * span_width];
#pragma unroll
      for (uint r = 0; r < count; ++r) {
        // Rows past the last: the last stands in, and what comes of it is not written.
        const ulong begin = ulong(min(row + r, args.rows - 1)) * args.inner;
        fetch_run(in + begin + k + d * weight_step + s * span_width, raw[r]);
      }
#pragma unroll
      for (uint r = 0; r < count; ++r) {
        unpack_raw(raw[r], x + r * span_width);
      }
      if (args.norm != 0) {
        if (spans == 1) {
          normalize_spans<count>(x, norms, norm_spans[d], args);
        } else {
          NormSpan norm_span;
          fetch_norm_span(gain, offset, k + d * weight_step + s * span_width, args, norm_span);
          normalize_spans<count>(x, norms, norm_span, args);
        }
      }
      if (WeightChunk<W>::has_minimum) {
#pragma unroll
        for (uint i = 0; i < count * span_width; ++i) {
          totals[i / span_width] += x[i];
        }
      }
#pragma unroll
      for (uint c = 0; c < each; ++c) {
        float weights[span_width];
        chunk_span(chunks[d * each + c], s, weights);
#pragma unroll
        for (uint r = 0; r < count; ++r) {
#pragma unroll
          for (uint e = 0; e < span_width; ++e) {
            parts[r * each + c] = fma(x[r * span_width + e], weights[e], parts[r * each + c]);
          }
        }
      }
    }
#pragma unroll
    for (uint c = 0; c < each; ++c) {
      const float scale = chunk_scale(chunks[d * each + c]);
      const float minimum = chunk_minimum(chunks[d * each + c]);
#pragma unroll
      for (uint r = 0; r < count; ++r) {
        const uint i = r * each + c;
        if (WeightChunk<W>::has_minimum) {
          sums[i] = fma(minimum, totals[r], sums[i]);
        }
        sums[i] = WeightChunk<W>::has_scale ? fma(scale, parts[i], sums[i]) : parts[i];
      }
    }
  }
}

// out[row, column] (+)= activation(sum + bias), where there is such an element.
template <typename T>
inline void put_result(device T* out, device const uchar* bias, float sum, uint row, ulong column,
                       constant MatvecArgs& args) {
  if (row < args.rows && column < args.columns) {
    const float x = args.has_bias != 0 ? sum + load_any(bias, args.bias_type, column) : sum;
    const ulong at = ulong(row) * args.columns + column;
    const float result = activate(args.activation, x);
    out[at] = T(args.accumulate != 0 ? float(out[at]) + result : result);
  }
}

// Asks for what no earlier kernel writes: a simdgroup's rows of the weight, and for all of them the vectors.
template <uint columns, typename W>
inline void ask_for_parameters(device const W* weight, device const uchar* gain, device const uchar* offset,
                               device const uchar* bias, ulong first_column, uint turn, uint group, uint simdgroup,
                               uint lane, constant MatvecArgs& args) {
  if (lane == 0 && turn == 0 && first_column < args.columns) {
    const ulong elements = min(ulong(columns), args.columns - first_column) * args.inner;
    // Two elements a byte in 4 bits.
    const ulong from = WeightChunk<W>::has_minimum ? first_column * args.inner / 2 : first_column * args.inner;
    ask_ahead(weight + from, WeightChunk<W>::has_minimum ? elements / 2 : elements * sizeof(W));
  }
  if (group == 0 && simdgroup == 0) {
    const ulong norm_bytes = ulong(args.inner) * (args.norm_type == any_f32 ? 4 : 2);
    if (lane == 1 && args.norm != 0) {
      ask_ahead(gain, norm_bytes);
    }
    if (lane == 2 && args.has_norm_bias != 0) {
      ask_ahead(offset, norm_bytes);
    }
    if (lane == 3 && args.has_bias != 0) {
      ask_ahead(bias, ulong(args.columns) * (args.bias_type == any_f32 ? 4 : 2));
    }
  }
}

// Simdgroups of a threadgroup at most.
constant constexpr uint matvec_simdgroups = 8;

// out (+)= activation(norm(in) · weightᵀ + bias). A simdgroup has the results of MatvecShape::columns rows of the
// weight and `count` rows of the input; or a threadgroup has, whose simdgroups then take turns along the rows and add
// up at last. Threadgroups of whole simdgroups, which cover the columns of the first rows, then those of the next.
template <typename T, typename W, uint count>
[[max_total_threads_per_threadgroup(256)]]
kernel void matvec_rows(device T* out [[buffer(0)]], device const T* in [[buffer(1)]],
                        device const W* weight [[buffer(2)]], device const half* scales [[buffer(3)]],
                        device const uchar* bias [[buffer(4)]], constant MatvecArgs& args [[buffer(5)]],
                        device const uchar* gain [[buffer(6)]], device const uchar* offset [[buffer(7)]],
                        uint group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],
                        uint simdgroups [[simdgroups_per_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  constexpr uint lanes = WeightChunk<W>::lanes;
  constexpr uint each = MatvecShape<W, count>::each;
  constexpr uint depth = MatvecShape<W, count>::depth;
  constexpr uint beside = MatvecShape<W, count>::beside;
  constexpr uint results = count * each;
  threadgroup float shares[matvec_simdgroups * 32];
  const uint turns = args.shared != 0 ? simdgroups : 1;
  const uint turn = args.shared != 0 ? simdgroup : 0;
  const uint columns = simdgroups / turns * MatvecShape<W, count>::columns;
  const uint across = (args.columns + columns - 1) / columns;
  const ulong first_column = ulong(group % across) * columns + (simdgroup - turn) * MatvecShape<W, count>::columns;
  const uint first_row = group / across * count;
  if (args.aligned != 0) {
    ask_for_parameters<MatvecShape<W, count>::columns>(weight, gain, offset, bias, first_column, turn, group, simdgroup,
                                                       lane, args);
  }
  wait_for_earlier_kernels();
  if (first_column >= args.columns) {
    return;
  }
  if (args.aligned == 0) {
    for (uint c = 0; c < MatvecShape<W, count>::columns; ++c) {
      const ulong column = min(first_column + c, ulong(args.columns) - 1);
      for (uint r = 0; r < count; ++r) {
        const ulong begin = ulong(min(first_row + r, args.rows - 1)) * args.inner;
        float sum = 0.0f;
        for (uint k = lane; k < args.inner; k += 32) {
          sum = fma(float(in[begin + k]), weight_element(weight, scales, column * args.inner + k), sum);
        }
        sum = simd_sum(sum);
        if (lane == 0) {
          put_result(out, bias, sum, first_row + r, first_column + c, args);
        }
      }
    }
    return;
  }

  // A lane has the rows first_column + its place + c · beside.
  const uint place = lane / lanes;
  ulong starts[each];
#pragma unroll
  for (uint c = 0; c < each; ++c) {
    // Past the last row of the weight its last row stands in; what comes of it is not written.
    starts[c] = min(first_column + c * beside + place, ulong(args.columns) - 1) * args.inner;
  }
  float sums[results];
#pragma unroll
  for (uint i = 0; i < results; ++i) {
    sums[i] = 0.0f;
  }
  uint k = lane % lanes * (WeightChunk<W>::spans * span_width) + turn * depth * weight_step;
  // They come while the norm is computed.
  WeightChunk<W> chunks[depth * each];
  NormSpan norm_spans[depth];
  fetch_chunks<each, depth>(weight, scales, gain, offset, starts, k, args, chunks, norm_spans);
  RowNorms<count> norms;
#pragma unroll
  for (uint r = 0; r < count; ++r) {
    norms.centres[r] = norms.factors[r] = 0.0f;
  }
  if (args.norm != 0) {
    norms_of_rows<count>(in, first_row, lane, args, norms);
  }
  while (k < args.inner) {
    add_products<count, each, depth>(sums, chunks, norm_spans, in, k, first_row, norms, gain, offset, args);
    k += turns * depth * weight_step;
    if (k < args.inner) {
      fetch_chunks<each, depth>(weight, scales, gain, offset, starts, k, args, chunks, norm_spans);
    }
  }
  spread_sums<results, lanes>(sums, lane);
  if (args.shared != 0) {
    shares[simdgroup * 32 + lane] = sums[0];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup != 0) {
      return;
    }
    for (uint i = 1; i < simdgroups; ++i) {
      sums[0] += shares[i * 32 + lane];
    }
  }
  constexpr uint alike = lanes / results;
  if (lane % alike == 0) {
    const uint i = lane % lanes / alike;
    put_result(out, bias, sums[0], first_row + i / each, first_column + i % each * beside + place, args);
  }
}

MSLT_INSTANTIATE(matvec_one_f32_f32, matvec_rows, float, float, 1)
MSLT_INSTANTIATE(matvec_one_f32_bf16, matvec_rows, float, bfloat, 1)
MSLT_INSTANTIATE(matvec_one_f32_f16, matvec_rows, float, half, 1)
MSLT_INSTANTIATE(matvec_one_f32_i8, matvec_rows, float, char, 1)
MSLT_INSTANTIATE(matvec_one_f32_u8, matvec_rows, float, uchar, 1)
MSLT_INSTANTIATE(matvec_one_bf16_bf16, matvec_rows, bfloat, bfloat, 1)
MSLT_INSTANTIATE(matvec_one_bf16_i8, matvec_rows, bfloat, char, 1)
MSLT_INSTANTIATE(matvec_one_bf16_u8, matvec_rows, bfloat, uchar, 1)
MSLT_INSTANTIATE(matvec_one_f16_f16, matvec_rows, half, half, 1)
MSLT_INSTANTIATE(matvec_one_f16_i8, matvec_rows, half, char, 1)
MSLT_INSTANTIATE(matvec_one_f16_u8, matvec_rows, half, uchar, 1)
MSLT_INSTANTIATE(matvec_four_f32_f32, matvec_rows, float, float, 4)
MSLT_INSTANTIATE(matvec_four_f32_bf16, matvec_rows, float, bfloat, 4)
MSLT_INSTANTIATE(matvec_four_f32_f16, matvec_rows, float, half, 4)
MSLT_INSTANTIATE(matvec_four_f32_i8, matvec_rows, float, char, 4)
MSLT_INSTANTIATE(matvec_four_f32_u8, matvec_rows, float, uchar, 4)
MSLT_INSTANTIATE(matvec_four_bf16_bf16, matvec_rows, bfloat, bfloat, 4)
MSLT_INSTANTIATE(matvec_four_bf16_i8, matvec_rows, bfloat, char, 4)
MSLT_INSTANTIATE(matvec_four_bf16_u8, matvec_rows, bfloat, uchar, 4)
MSLT_INSTANTIATE(matvec_four_f16_f16, matvec_rows, half, half, 4)
MSLT_INSTANTIATE(matvec_four_f16_i8, matvec_rows, half, char, 4)
MSLT_INSTANTIATE(matvec_four_f16_u8, matvec_rows, half, uchar, 4)
