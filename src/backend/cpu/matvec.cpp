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
constexpr std::int64_t vector_lanes = HWY_MIN(HWY_LANES(float), 16);
// Sums of an output element at a time, which hide the latency of additions.
constexpr std::int64_t chains = 4;
// Rows of the input that share a weight in a register: as many as leave registers for it, of 32 or 16.
constexpr std::int64_t rows_at_once = vector_lanes >= 16 ? 4 : 2;

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

// Adds group k of a row of weights times R rows of in to sums[chain][r].
template <class T, std::int64_t R>
HWY_INLINE void add_group(const T* weights, const float* const* in, std::int64_t k, const float* scales,
                          std::int64_t chain, Floats* sums) {
  const FloatTag d;
  if constexpr (is_quantised<T>) {
    Floats parts[R];
    HWY_UNROLL(4)
    for (std::int64_t r = 0; r < R; ++r) parts[r] = hn::Zero(d);
    HWY_UNROLL(8)
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      const Floats weight = load_weights(d, weights, k, j);
      HWY_UNROLL(4)
      for (std::int64_t r = 0; r < R; ++r) {
        parts[r] = hn::MulAdd(weight, hn::LoadU(d, in[r] + k + j), parts[r]);
      }
    }
    const Floats scale = hn::Set(d, scales[k / group]);
    HWY_UNROLL(4)
    for (std::int64_t r = 0; r < R; ++r) sums[chain * R + r] = hn::MulAdd(scale, parts[r], sums[chain * R + r]);
  } else {
    HWY_UNROLL(8)
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      const Floats weight = load_weights(d, weights, k, j);
      Floats* const to = sums + (chain + j / vector_lanes) % chains * R;
      HWY_UNROLL(4)
      for (std::int64_t r = 0; r < R; ++r) to[r] = hn::MulAdd(weight, hn::LoadU(d, in[r] + k + j), to[r]);
    }
  }
}

// Dot products of row n of the weight with rows i to i + R - 1 of in. The order of additions does not depend on R.
// scales: of the row, as floats.
template <class T, std::int64_t R>
HWY_INLINE void dot_row(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* scales) {
  const FloatTag d;
  const T* const weights = task.values + n * (task.inner / elements_a_byte<T>);
  const float* in[R];
  for (std::int64_t r = 0; r < R; ++r) in[r] = task.in + (i + r) * task.inner;
  Floats sums[chains * R];
  HWY_UNROLL(16)
  for (std::int64_t s = 0; s < chains * R; ++s) sums[s] = hn::Zero(d);
  std::int64_t k = 0;
  for (; k + 2 * group <= task.inner; k += 2 * group) {
    add_group<T, R>(weights, in, k, scales, 0, sums);
    add_group<T, R>(weights, in, k + group, scales, chains / 2, sums);
  }
  for (; k + group <= task.inner; k += group) add_group<T, R>(weights, in, k, scales, 0, sums);
  for (std::int64_t r = 0; r < R; ++r) {
    const Floats total = hn::Add(hn::Add(sums[r], sums[R + r]), hn::Add(sums[2 * R + r], sums[3 * R + r]));
    float sum = hn::GetLane(hn::SumOfLanes(d, total));
    if constexpr (!is_quantised<T>) {
      for (std::int64_t e = k; e < task.inner; ++e) sum += to_float(weights[e]) * in[r][e];
    }
    task.out[(i + r) * task.columns + n] = sum;
  }
}

// Columns [begin, end) of the output, one row of the weight after the other: the processor fetches one stream ahead,
// but not several that are less than a page long. scales: room for inner / group floats.
template <class T>
HWY_INLINE void output_columns(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, float* scales) {
  for (std::int64_t n = begin; n < end; ++n) {
    if constexpr (is_quantised<T>) {
      const std::int64_t groups = task.inner / group;
      const Float16* from = task.scales + n * groups;
      const FloatTag d;
      std::int64_t g = 0;
      for (; g + vector_lanes <= groups; g += vector_lanes) hn::StoreU(load_floats(d, from + g), d, scales + g);
      for (; g < groups; ++g) scales[g] = to_float(from[g]);
    }
    std::int64_t i = 0;
    for (; i + rows_at_once <= task.rows; i += rows_at_once) dot_row<T, rows_at_once>(task, i, n, scales);
    for (; i < task.rows; ++i) dot_row<T, 1>(task, i, n, scales);
  }
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

// Output columns of an iteration.
constexpr std::int64_t columns_a_task = 32;
constexpr std::int64_t scale_group = 32;

template <class T, class Kernel>
void run_matvec(const MatvecTask<T>& task, float* scratch, Kernel kernel) {
  const std::int64_t scales = task.inner / scale_group;
  const auto body = [&](std::int64_t block, int slot) {
    const std::int64_t begin = block * columns_a_task;
    const std::int64_t end = std::min(task.columns, begin + columns_a_task);
    kernel(task, begin, end, scratch + slot * scales);
  };
  const std::int64_t blocks = (task.columns + columns_a_task - 1) / columns_a_task;
  const Cost weight = {.flops = 2 * static_cast<double>(task.rows), .bytes = sizeof(T)};
  parallel_for_slots(blocks, weight * (task.inner * std::min(columns_a_task, task.columns)), body);
}

}  // namespace

void CpuBackend::matvec(const MatmulForward& op) {
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t columns = op.weight.values.shape()[0];
  const bool quantised = static_cast<bool>(op.weight.scales);
  const std::int64_t scales = quantised ? inner / scale_group * parallel_threads() : 0;
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
