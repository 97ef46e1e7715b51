// Products of few rows with plain and quantised weights, which are read once and as they are.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matvec.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once a target.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "backend/cpu/panel_tiles-inl.h"
#include "backend/cpu/weight_groups-inl.h"

#ifndef MSLT_BACKEND_CPU_MATVEC_ONCE
#define MSLT_BACKEND_CPU_MATVEC_ONCE
namespace mslt {

// One call's arguments with the dtypes taken off: values of T, or quantised with scales.
template <class T>
struct MatvecTask {
  float* out;
  const float* in;
  const T* values;
  const Float16* factors;  // null for plain weights
  std::int64_t rows;       // of in and out
  std::int64_t inner;
  std::int64_t columns;  // of out: rows of the weight
  bool independent;      // whether a row is computed alike however many there are
};

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

template <class T>
inline constexpr bool is_quantised = sizeof(T) == 1;

// Of a group: a scale, and with 4 bits a minimum.
template <class T>
inline constexpr std::int64_t factors_a_group = is_quantised<T> ? (std::is_same_v<T, std::uint8_t> ? 2 : 1) : 0;

// From this many rows of the input on, unpacking a weight into memory takes less time than doing so for each tile.
template <class T>
constexpr std::int64_t least_panel_rows = std::is_same_v<T, std::uint8_t> ? 3
                                          : is_quantised<T>               ? 8
                                                                          : 32;

// Sums of an output element at a time, which hide the latency of additions.
constexpr std::int64_t chains = 4;

// Fetches what lies `bytes` after `at` into the second-level cache: where a kernel computes longer than it reads, or
// reads several short rows at once, the processor by itself fetches too late.
template <class T>
HWY_INLINE void prefetch(const T* at, std::int64_t bytes) {
  __builtin_prefetch(reinterpret_cast<const char*>(at) + bytes, 0, 2);
}

// A product of one row with a plain weight: reading the weight is all that takes time, so rows of it follow each other
// in memory. The processor fetches one stream ahead, but not several that are less than a page long.
template <class T>
HWY_INLINE float dot_row(const MatvecTask<T>& task, std::int64_t n) {
  const FloatTag d;
  const T* const weights = task.values + n * task.inner;
  const float* const in = task.in;
  Floats sums[chains] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  const auto add_group = [&](std::int64_t k, std::int64_t chain) HWY_ATTR {
    HWY_UNROLL(8)
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      Floats& sum = sums[(chain + j / vector_lanes) % chains];
      sum = hn::MulAdd(load_weights(d, weights, k, j), hn::LoadU(d, in + k + j), sum);
    }
  };
  std::int64_t k = 0;
  for (; k + 2 * group <= task.inner; k += 2 * group) {
    add_group(k, 0);
    add_group(k + group, chains / 2);
  }
  for (; k + group <= task.inner; k += group) add_group(k, 0);
  const Floats total = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
  float sum = hn::GetLane(hn::SumOfLanes(d, total));
  for (; k < task.inner; ++k) sum += to_float(weights[k]) * in[k];
  return sum;
}

// One row with N rows of a quantised weight, which share what they read of the input: unpacking takes longer than
// reading the weight, so these are fetched ahead. A group's sum is multiplied by its scale. The factors of each row are
// `width` floats.
constexpr std::int64_t rows_unpacked = 4;

template <std::int64_t N>
HWY_INLINE void add_rows(const MatvecTask<std::int8_t>& task, std::int64_t n, const float* factors, std::int64_t width,
                         Floats* sums) {
  const FloatTag d;
  const std::int8_t* const weights = task.values + n * task.inner;
  for (std::int64_t g = 0; g < width; ++g) {
    HWY_UNROLL(4)
    for (std::int64_t c = 0; c < N; ++c) {
      const std::int8_t* const row = weights + c * task.inner;
      if (g % 2 == 0) prefetch(row + g * group, task.inner * N);
      Floats part = hn::Mul(load_weights(d, row, g * group, 0), hn::LoadU(d, task.in + g * group));
      HWY_UNROLL(8)
      for (std::int64_t j = vector_lanes; j < group; j += vector_lanes) {
        part = hn::MulAdd(load_weights(d, row, g * group, j), hn::LoadU(d, task.in + g * group + j), part);
      }
      sums[c] = hn::MulAdd(hn::Set(d, factors[c * width + g]), part, sums[c]);
    }
  }
}

// Of 4 bits: task.in is in the order of chunks. The minimum is multiplied by the sum of the input.
template <std::int64_t N>
HWY_INLINE void add_rows(const MatvecTask<std::uint8_t>& task, std::int64_t n, const float* factors, std::int64_t width,
                         Floats* sums) {
  const FloatTag d;
  const std::int64_t row_bytes = task.inner / 2;
  const std::uint8_t* const weights = task.values + n * row_bytes;
  for (std::int64_t chunk = 0; chunk < chunks_of(task.inner); ++chunk) {
    const float* const in = task.in + chunk * chunk_floats;
    const Floats in_sums = hn::LoadU(d, in + chunk_elements);
    HWY_UNROLL(4)
    for (std::int64_t c = 0; c < N; ++c) {
      const std::uint8_t* const row = weights + c * row_bytes;
      prefetch(row + chunk * chunk_elements / 2, row_bytes * N);
      Floats part = hn::Zero(d);
      for_each_nibble(d, load_chunk(row, chunk, task.inner), [&](std::int64_t p, Floats weight) HWY_ATTR {
        part = hn::MulAdd(weight, hn::LoadU(d, in + p * vector_lanes), part);
      });
      const Factors own = load_chunk_factors(d, factors + c * width, chunk);
      sums[c] = hn::MulAdd(own.scales, part, hn::MulAdd(own.minima, in_sums, sums[c]));
    }
  }
}

template <class T, std::int64_t N>
HWY_INLINE void dot_rows(const MatvecTask<T>& task, std::int64_t n, const float* factors, std::int64_t width) {
  const FloatTag d;
  Floats sums[N];
  for (std::int64_t c = 0; c < N; ++c) sums[c] = hn::Zero(d);
  add_rows<N>(task, n, factors, width, sums);
  for (std::int64_t c = 0; c < N; ++c) task.out[n + c] = hn::GetLane(hn::SumOfLanes(d, sums[c]));
}

// Several rows: a tile of R rows of the input and N of the weight has its sums in registers, 32 or 16, and reads R + N
// vectors for R · N products. The order of additions does not depend on R and N. A value times its
// scale is exact, and rounds once with its minimum.
constexpr std::int64_t tile_rows = vector_lanes >= 16 ? 4 : 2;
constexpr std::int64_t tile_columns = 4;

template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void add_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* factors,
                         std::int64_t width, Floats* sums) {
  const FloatTag d;
  const T* const weights = task.values + n * task.inner;
  const float* const in = task.in + i * task.inner;
  for (std::int64_t k = 0; k + group <= task.inner; k += group) {
    HWY_UNROLL(8)
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      Floats x[R];
      for (std::int64_t r = 0; r < R; ++r) x[r] = hn::LoadU(d, in + r * task.inner + k + j);
      HWY_UNROLL(4)
      for (std::int64_t c = 0; c < N; ++c) {
        const T* const row = weights + c * task.inner;
        if (j * sizeof(T) % 64 == 0) prefetch(row + k + j, task.inner * sizeof(T) * N);
        Floats weight = load_weights(d, row, k, j);
        if constexpr (is_quantised<T>) weight = hn::Mul(weight, hn::Set(d, factors[c * width + k / group]));
        HWY_UNROLL(4)
        for (std::int64_t r = 0; r < R; ++r) sums[c * R + r] = hn::MulAdd(weight, x[r], sums[c * R + r]);
      }
    }
  }
}

template <class T, std::int64_t R, std::int64_t N>
  requires std::is_same_v<T, std::uint8_t>
HWY_INLINE void add_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* factors,
                         std::int64_t width, Floats* sums) {
  const FloatTag d;
  const std::int64_t row_bytes = task.inner / 2;
  const std::int64_t chunks = chunks_of(task.inner);
  const std::uint8_t* const weights = task.values + n * row_bytes;
  const float* const in = task.in + i * chunks * chunk_floats;
  for (std::int64_t c = 0; c < chunks; ++c) {
    HWY_UNROLL(4)
    for (std::int64_t column = 0; column < N; ++column) {
      const std::uint8_t* const row = weights + column * row_bytes;
      prefetch(row + c * chunk_elements / 2, row_bytes * N);
      const Factors own = load_chunk_factors(d, factors + column * width, c);
      for_each_nibble(d, load_chunk(row, c, task.inner), [&](std::int64_t p, Floats weight) HWY_ATTR {
        weight = hn::MulAdd(weight, own.scales, own.minima);
        HWY_UNROLL(4)
        for (std::int64_t r = 0; r < R; ++r) {
          const Floats x = hn::LoadU(d, in + (r * chunks + c) * chunk_floats + p * vector_lanes);
          sums[column * R + r] = hn::MulAdd(weight, x, sums[column * R + r]);
        }
      });
    }
  }
}

// Writes the elements of a tile, adding what is behind the last whole group of a plain weight.
template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void finish_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const Floats* sums) {
  const FloatTag d;
  for (std::int64_t c = 0; c < N; ++c) {
    for (std::int64_t r = 0; r < R; ++r) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[c * R + r]));
      if constexpr (!is_quantised<T>) {
        const T* const row = task.values + (n + c) * task.inner;
        const float* const in = task.in + (i + r) * task.inner;
        for (std::int64_t k = task.inner / group * group; k < task.inner; ++k) sum += to_float(row[k]) * in[k];
      }
      task.out[(i + r) * task.columns + n + c] = sum;
    }
  }
}

template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void output_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* factors,
                            std::int64_t width) {
  const FloatTag d;
  Floats sums[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Zero(d);
  add_tile<T, R, N>(task, i, n, factors, width, sums);
  finish_tile<T, R, N>(task, i, n, sums);
}

// Rows [i, end) of N columns.
template <class T, std::int64_t N>
HWY_INLINE void output_tiles(const MatvecTask<T>& task, std::int64_t i, std::int64_t end, std::int64_t n,
                             const float* factors, std::int64_t width) {
  for (; i + tile_rows <= end; i += tile_rows) output_tile<T, tile_rows, N>(task, i, n, factors, width);
  if (i + 2 <= end) {
    output_tile<T, 2, N>(task, i, n, factors, width);
    i += 2;
  }
  if (i < end) output_tile<T, 1, N>(task, i, n, factors, width);
}

// The same elements, bit for bit, from an unpacked weight.
template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void output_panel_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* panel) {
  const FloatTag d;
  const std::int64_t pieces = pieces_of<T>(task.inner);
  const std::int64_t in_stride = has_chunks<T> ? pieces * piece_floats<T> : task.inner;
  Floats sums[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Zero(d);
  add_panel_tile<T, R, N>(task.in + i * in_stride, in_stride, panel, pieces, sums);
  finish_tile<T, R, N>(task, i, n, sums);
}

template <class T, std::int64_t R>
HWY_INLINE void output_panel_rows(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t end,
                                  const float* panel) {
  const std::int64_t length = pieces_of<T>(task.inner) * piece_elements<T>;
  for (; n + panel_columns <= end; n += panel_columns, panel += panel_columns * length) {
    output_panel_tile<T, R, panel_columns>(task, i, n, panel);
  }
  for (; n < end; ++n, panel += length) output_panel_tile<T, R, 1>(task, i, n, panel);
}

// Columns [begin, end), some of which are unpacked at a time into `panel`.
template <class T>
HWY_INLINE void output_panels(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, const float* factors,
                              std::int64_t width, float* panel) {
  const std::int64_t length = pieces_of<T>(task.inner) * piece_elements<T>;
  const std::int64_t row_elements = has_chunks<T> ? task.inner / 2 : task.inner;
  const std::int64_t columns = columns_a_panel<T>(task.inner);
  for (std::int64_t n = begin; n < end; n += columns) {
    const std::int64_t panel_end = std::min(end, n + columns);
    for (std::int64_t c = n; c < panel_end; ++c) {
      unpack(task.values + c * row_elements, factors + (c - begin) * width, task.inner, panel + (c - n) * length);
    }
    std::int64_t i = 0;
    for (; i + panel_rows <= task.rows; i += panel_rows) {
      output_panel_rows<T, panel_rows>(task, i, n, panel_end, panel);
    }
    for (; i + 2 <= task.rows; i += 2) output_panel_rows<T, 2>(task, i, n, panel_end, panel);
    if (i < task.rows) output_panel_rows<T, 1>(task, i, n, panel_end, panel);
  }
}

// Rows of the input that stay in the cache while they meet all columns of a task.
constexpr std::int64_t rows_a_pass = 64;

// Columns [begin, end) of the output. `factors` is room for those of the columns, and one vector after them; `panel`
// for panel_room() floats.
template <class T>
HWY_INLINE void output_columns(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, float* factors,
                               float* panel) {
  const std::int64_t width = task.inner / group * factors_a_group<T>;
  if constexpr (is_quantised<T>) {
    const FloatTag d;
    const std::int64_t count = (end - begin) * width;
    convert(task.factors + begin * width, factors, count);
    hn::StoreU(hn::Zero(d), d, factors + count);
  }
  std::int64_t n = begin;
  if (task.rows == 1 && !task.independent) {
    if constexpr (is_quantised<T>) {
      constexpr std::int64_t side = rows_unpacked;
      for (; n + side <= end; n += side) dot_rows<T, side>(task, n, factors + (n - begin) * width, width);
      for (; n < end; ++n) dot_rows<T, 1>(task, n, factors + (n - begin) * width, width);
    } else {
      for (; n < end; ++n) task.out[n] = dot_row(task, n);
    }
    return;
  }
  if (!std::is_same_v<T, float> && task.rows >= least_panel_rows<T>) {
    return output_panels(task, begin, end, factors, width, panel);
  }
  constexpr std::int64_t side = tile_columns;
  for (std::int64_t i = 0; i < task.rows; i += rows_a_pass) {
    const std::int64_t rows_end = std::min(task.rows, i + rows_a_pass);
    for (n = begin; n + side <= end; n += side) {
      output_tiles<T, side>(task, i, rows_end, n, factors + (n - begin) * width, width);
    }
    for (; n < end; ++n) output_tiles<T, 1>(task, i, rows_end, n, factors + (n - begin) * width, width);
  }
}

void matvec_f32(const MatvecTask<float>& task, std::int64_t begin, std::int64_t end, float* factors, float* panel) {
  output_columns(task, begin, end, factors, panel);
}
void matvec_bf16(const MatvecTask<BFloat16>& task, std::int64_t begin, std::int64_t end, float* factors, float* panel) {
  output_columns(task, begin, end, factors, panel);
}
void matvec_f16(const MatvecTask<Float16>& task, std::int64_t begin, std::int64_t end, float* factors, float* panel) {
  output_columns(task, begin, end, factors, panel);
}
void matvec_i8(const MatvecTask<std::int8_t>& task, std::int64_t begin, std::int64_t end, float* factors,
               float* panel) {
  output_columns(task, begin, end, factors, panel);
}
void matvec_u8(const MatvecTask<std::uint8_t>& task, std::int64_t begin, std::int64_t end, float* factors,
               float* panel) {
  output_columns(task, begin, end, factors, panel);
}

// Floats of a panel, of whichever dtype.
std::int64_t panel_room(std::int64_t inner) {
  const std::int64_t length = chunks_of(inner) * chunk_elements;
  return std::max(panel_floats, panel_columns * length);
}
std::int64_t spread_floats(std::int64_t count) {
  return chunks_of(count) * chunk_floats;
}
void spread(const float* from, std::int64_t count, float* to) {
  spread_input(from, count, to);
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
HWY_EXPORT(panel_room);
HWY_EXPORT(spread_floats);
HWY_EXPORT(spread);

// Output columns of an iteration.
constexpr std::int64_t columns_a_task = 32;
constexpr std::int64_t largest_vector = 16;  // floats

// So many floats that what follows them begins a line of the cache.
std::int64_t round_to_line(std::int64_t floats) {
  return (floats + largest_vector - 1) / largest_vector * largest_vector;
}

// Floats of scratch memory that a thread needs for the scales and minima of its columns.
std::int64_t factor_floats(const Weight& weight) {
  if (!weight.scales) return 0;
  const std::int64_t a_row = weight.scales.elements() / std::max<std::int64_t>(weight.scales.shape()[0], 1);
  return round_to_line(columns_a_task * a_row + largest_vector);
}

template <class T, class Kernel>
void run_matvec(const MatvecTask<T>& task, float* scratch, std::int64_t factors, std::int64_t panel,
                double bytes_an_element, Kernel kernel) {
  const auto body = [&](std::int64_t block, int slot) {
    const std::int64_t begin = block * columns_a_task;
    const std::int64_t end = std::min(task.columns, begin + columns_a_task);
    float* const own = scratch + slot * (factors + panel);
    kernel(task, begin, end, own, own + factors);
  };
  const std::int64_t blocks = (task.columns + columns_a_task - 1) / columns_a_task;
  const Cost weight = {.flops = 2 * static_cast<double>(task.rows), .bytes = bytes_an_element};
  parallel_for_slots(blocks, weight * (task.inner * std::min(columns_a_task, task.columns)), body);
}

}  // namespace

void CpuBackend::matvec(const MatmulForward& op) {
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t columns = op.weight.values.shape()[0];
  const bool spreads = op.weight.values.dtype() == DType::u8;
  const std::int64_t factors = factor_floats(op.weight);
  const std::int64_t spread_row = spreads ? HWY_DYNAMIC_DISPATCH(spread_floats)(inner) : 0;
  const std::int64_t panel = op.weight.values.dtype() == DType::f32 ? 0 : HWY_DYNAMIC_DISPATCH(panel_room)(inner);
  const std::int64_t spread_rows = round_to_line(rows * spread_row);
  float* const scratch =
      scratch_->floats(static_cast<std::size_t>(spread_rows + (factors + panel) * parallel_threads()));
  const float* in = data_of<float>(op.in);
  if (spreads) {
    parallel_for(rows, Cost{.bytes = 16} * inner, [&](std::int64_t r) {
      HWY_DYNAMIC_DISPATCH(spread)(data_of<float>(op.in) + r * inner, inner, scratch + r * spread_row);
    });
    in = scratch;
  }
  const auto start = [&]<class T>(const T* values, auto kernel) {
    const Float16* const factor_data = op.weight.scales ? data_of<Float16>(op.weight.scales) : nullptr;
    run_matvec(
        MatvecTask<T>{data_of<float>(op.out), in, values, factor_data, rows, inner, columns, op.independent_rows},
        scratch + spread_rows, factors, panel, spreads ? 0.5 : sizeof(T), kernel);
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
