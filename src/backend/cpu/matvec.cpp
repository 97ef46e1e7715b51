// Products of few rows with plain and quantised weights, bound by reading the weight.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matvec.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once a target.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "backend/cpu/float_vectors-inl.h"

#ifndef MSLT_BACKEND_CPU_MATVEC_ONCE
#define MSLT_BACKEND_CPU_MATVEC_ONCE
namespace mslt {

// One call's arguments with the dtypes taken off: values of T, or quantised with scales.
template <class T>
struct MatvecTask {
  float* out;
  const float* in;
  const T* values;
  const Float16* scales;  // null for plain weights
  std::int64_t rows;      // of in and out
  std::int64_t inner;
  std::int64_t columns;  // of out: rows of the weight
};

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

constexpr std::int64_t group = 32;
constexpr std::int64_t weight_rows = 4;
constexpr std::int64_t vector_lanes = HWY_MIN(HWY_LANES(float), 16);

// Elements [k + j, k + j + lanes) of a row of weights, j < group, for k a multiple of the group; unscaled.
template <class T>
HWY_INLINE Floats load_weights(FloatTag d, const T* row, std::int64_t k, std::int64_t j) {
  return load_floats(d, row + k + j);
}
HWY_INLINE Floats load_weights(FloatTag d, const std::int8_t* row, std::int64_t k, std::int64_t j) {
  const hn::Rebind<std::int8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  return hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, row + k + j)));
}
HWY_INLINE Floats load_weights(FloatTag d, const std::uint8_t* row, std::int64_t k, std::int64_t j) {
  const hn::Rebind<std::uint8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  constexpr std::int64_t half = group / 2;
  const auto bytes = hn::PromoteTo(d32, hn::LoadU(d8, row + k / 2 + j % half));
  const auto nibbles = j < half ? hn::And(bytes, hn::Set(d32, 15)) : hn::ShiftRight<4>(bytes);
  return hn::ConvertTo(d, hn::Sub(nibbles, hn::Set(d32, 8)));
}

template <class T>
inline constexpr bool is_quantised = sizeof(T) == 1;
template <class T>
inline constexpr std::int64_t elements_a_byte = 1;
template <>
inline constexpr std::int64_t elements_a_byte<std::uint8_t> = 2;

// Dot products of W rows of the weight with R rows of in. scales: [W][inner / group], as floats.
template <class T, std::int64_t R, std::int64_t W>
HWY_INLINE void dot_rows(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* scales) {
  const FloatTag d;
  const T* weights[W];
  const float* in[R];
  Floats sums[R * W];
  for (std::int64_t w = 0; w < W; ++w) weights[w] = task.values + (n + w) * (task.inner / elements_a_byte<T>);
  for (std::int64_t r = 0; r < R; ++r) in[r] = task.in + (i + r) * task.inner;
  HWY_UNROLL(16)
  for (std::int64_t s = 0; s < R * W; ++s) sums[s] = hn::Zero(d);
  std::int64_t k = 0;
  for (; k + group <= task.inner; k += group) {
    Floats scale[W];
    HWY_UNROLL(4)
    for (std::int64_t w = 0; w < W; ++w) {
      scale[w] = is_quantised<T> ? hn::Set(d, scales[w * (task.inner / group) + k / group]) : hn::Zero(d);
    }
    HWY_UNROLL(8)
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      Floats x[R];
      HWY_UNROLL(4)
      for (std::int64_t r = 0; r < R; ++r) x[r] = hn::LoadU(d, in[r] + k + j);
      HWY_UNROLL(4)
      for (std::int64_t w = 0; w < W; ++w) {
        Floats weight = load_weights(d, weights[w], k, j);
        if constexpr (is_quantised<T>) weight = hn::Mul(weight, scale[w]);
        HWY_UNROLL(4)
        for (std::int64_t r = 0; r < R; ++r) sums[r * W + w] = hn::MulAdd(weight, x[r], sums[r * W + w]);
      }
    }
  }
  for (std::int64_t r = 0; r < R; ++r) {
    for (std::int64_t w = 0; w < W; ++w) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[r * W + w]));
      if constexpr (!is_quantised<T>) {
        for (std::int64_t e = k; e < task.inner; ++e) sum += to_float(weights[w][e]) * in[r][e];
      }
      task.out[(i + r) * task.columns + n + w] = sum;
    }
  }
}

template <class T, std::int64_t W>
HWY_INLINE void all_rows(const MatvecTask<T>& task, std::int64_t n, const float* scales) {
  std::int64_t i = 0;
  for (; i + 4 <= task.rows; i += 4) dot_rows<T, 4, W>(task, i, n, scales);
  for (; i + 2 <= task.rows; i += 2) dot_rows<T, 2, W>(task, i, n, scales);
  for (; i < task.rows; ++i) dot_rows<T, 1, W>(task, i, n, scales);
}

template <class T, std::int64_t W>
HWY_INLINE void weight_row_block(const MatvecTask<T>& task, std::int64_t n, float* scales) {
  if constexpr (is_quantised<T>) {
    const std::int64_t groups = task.inner / group;
    const Float16* from = task.scales + n * groups;
    const FloatTag d;
    std::int64_t g = 0;
    for (; g + vector_lanes <= W * groups; g += vector_lanes) hn::StoreU(load_floats(d, from + g), d, scales + g);
    for (; g < W * groups; ++g) scales[g] = to_float(from[g]);
  }
  all_rows<T, W>(task, n, scales);
}

// Columns [begin, end) of the output. scales: room for weight_rows · inner / group floats.
template <class T>
HWY_INLINE void output_columns(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, float* scales) {
  std::int64_t n = begin;
  for (; n + weight_rows <= end; n += weight_rows) weight_row_block<T, weight_rows>(task, n, scales);
  for (; n < end; ++n) weight_row_block<T, 1>(task, n, scales);
}

void matvec_f32(const MatvecTask<float>& task, std::int64_t begin, std::int64_t end, float* scales) {
  output_columns(task, begin, end, scales);
}
void matvec_bf16(const MatvecTask<BFloat16>& task, std::int64_t begin, std::int64_t end, float* scales) {
  output_columns(task, begin, end, scales);
}
void matvec_f16(const MatvecTask<Float16>& task, std::int64_t begin, std::int64_t end, float* scales) {
  output_columns(task, begin, end, scales);
}
void matvec_i8(const MatvecTask<std::int8_t>& task, std::int64_t begin, std::int64_t end, float* scales) {
  output_columns(task, begin, end, scales);
}
void matvec_u8(const MatvecTask<std::uint8_t>& task, std::int64_t begin, std::int64_t end, float* scales) {
  output_columns(task, begin, end, scales);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/views.h"
#include "base/parallel.h"

namespace mslt {
namespace {

HWY_EXPORT(matvec_f32);
HWY_EXPORT(matvec_bf16);
HWY_EXPORT(matvec_f16);
HWY_EXPORT(matvec_i8);
HWY_EXPORT(matvec_u8);

// Output columns that a thread takes at a time, a multiple of those that are computed together.
constexpr std::int64_t columns_a_task = 32;
constexpr std::int64_t scale_group = 32;
constexpr std::int64_t rows_of_scales = 4;

template <class T, class Kernel>
void run_matvec(const MatvecTask<T>& task, float* scratch, Kernel kernel) {
  const std::int64_t scales = rows_of_scales * (task.inner / scale_group);
  const auto body = [&](std::int64_t block, int slot) {
    const std::int64_t begin = block * columns_a_task;
    const std::int64_t end = std::min(task.columns, begin + columns_a_task);
    kernel(task, begin, end, scratch + slot * scales);
  };
  const std::int64_t blocks = (task.columns + columns_a_task - 1) / columns_a_task;
  // Waking threads costs some microseconds, as much as a product of this size.
  constexpr std::int64_t least_work = 1 << 16;
  if (task.rows * task.inner * task.columns < least_work) {
    for (std::int64_t block = 0; block < blocks; ++block) body(block, 0);
  } else {
    parallel_for_slots(blocks, body);
  }
}

}  // namespace

void CpuBackend::matvec(const MatmulForward& op) {
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t columns = op.weight.values.shape()[0];
  const bool quantised = static_cast<bool>(op.weight.scales);
  const std::int64_t scales = quantised ? rows_of_scales * (inner / scale_group) * parallel_threads() : 0;
  float* const scratch = scratch_->floats(static_cast<std::size_t>(scales));
  const auto start = [&]<class T>(const T* values, auto kernel) {
    const Float16* const scale_data = quantised ? data_of<Float16>(op.weight.scales) : nullptr;
    run_matvec(MatvecTask<T>{data_of<float>(op.out), data_of<float>(op.in), values, scale_data, rows, inner, columns},
               scratch, kernel);
  };
  switch (op.weight.values.dtype()) {
    case DType::bf16:
      return start(data_of<BFloat16>(op.weight.values), HWY_DYNAMIC_DISPATCH(matvec_bf16));
    case DType::f16:
      return start(data_of<Float16>(op.weight.values), HWY_DYNAMIC_DISPATCH(matvec_f16));
    case DType::i8:
      return start(data_of<std::int8_t>(op.weight.values), HWY_DYNAMIC_DISPATCH(matvec_i8));
    case DType::u8:
      return start(data_of<std::uint8_t>(op.weight.values), HWY_DYNAMIC_DISPATCH(matvec_u8));
    default:
      return start(data_of<float>(op.weight.values), HWY_DYNAMIC_DISPATCH(matvec_f32));
  }
}

}  // namespace mslt
#endif
