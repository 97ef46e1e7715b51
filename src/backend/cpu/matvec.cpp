// Products of few rows with plain and quantised weights, which are read once and as they are.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matvec.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once a target.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "backend/cpu/integer_tiles-inl.h"
#include "backend/cpu/matvec_task.h"
#include "backend/cpu/panel_tiles-inl.h"
#include "backend/cpu/weight_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// From this many rows of the input on, unpacking a weight of 16 bits into memory takes less time than doing so for each
// tile.
constexpr std::int64_t least_unpacked_rows = 32;

// A tile of R rows of the input and N of the weight has its sums in registers, 32 or 16, and reads R + N vectors for
// R · N products. The order of additions does not depend on R and N. The rows of the weight are `apart` rows from each
// other, so that tiles next to each other read N long streams of memory: the processor fetches several of those ahead,
// but not several that are less than a page long.
constexpr std::int64_t tile_outputs = vector_lanes >= 16 ? 4 : 2;
constexpr std::int64_t tile_columns = 4;

// A quantised weight has whole groups.
template <class T>
constexpr bool is_quantised = std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>;

template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void add_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t apart, Floats* sums) {
  const FloatTag d;
  const T* const weights = task.values + n * task.inner;
  const float* const in = task.in + i * task.inner;
  // The next tile's rows, of which several rows of the input take long, or what one soon needs.
  const std::int64_t ahead = R > 1 ? task.inner * static_cast<std::int64_t>(sizeof(T)) : bytes_ahead;
  for (std::int64_t k = 0; k + group <= task.inner; k += group) {
    HWY_UNROLL(8)
    for (std::int64_t j = k; j < k + group; j += vector_lanes) {
      Floats x[R];
      for (std::int64_t r = 0; r < R; ++r) x[r] = hn::LoadU(d, in + r * task.inner + j);
      HWY_UNROLL(4)
      for (std::int64_t c = 0; c < N; ++c) {
        const T* const row = weights + c * apart * task.inner;
        if ((j - k) * sizeof(T) % 64 == 0) prefetch(row + j, ahead);
        const Floats weight = load_floats(d, row + j);
        HWY_UNROLL(4)
        for (std::int64_t r = 0; r < R; ++r) sums[c * R + r] = hn::MulAdd(weight, x[r], sums[c * R + r]);
      }
    }
  }
}

// Writes the elements of a tile, adding what is behind the last whole group.
template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void finish_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t apart,
                            const Floats* sums) {
  const FloatTag d;
  for (std::int64_t c = 0; c < N; ++c) {
    for (std::int64_t r = 0; r < R; ++r) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[c * R + r]));
      if constexpr (!is_quantised<T>) {
        const T* const row = task.values + (n + c * apart) * task.inner;
        const float* const in = task.in + (i + r) * task.inner;
        for (std::int64_t k = grouped(task.inner); k < task.inner; ++k) sum += to_float(row[k]) * in[k];
      }
      task.out[(i + r) * task.columns + n + c * apart] = sum;
    }
  }
}

template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void output_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t apart) {
  const FloatTag d;
  Floats sums[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Zero(d);
  add_tile<T, R, N>(task, i, n, apart, sums);
  finish_tile<T, R, N>(task, i, n, apart, sums);
}

// Rows [i, end) of N columns.
template <class T, std::int64_t N>
HWY_INLINE void output_tiles(const MatvecTask<T>& task, std::int64_t i, std::int64_t end, std::int64_t n,
                             std::int64_t apart) {
  for (; i + tile_outputs <= end; i += tile_outputs) output_tile<T, tile_outputs, N>(task, i, n, apart);
  if (i + 2 <= end) {
    output_tile<T, 2, N>(task, i, n, apart);
    i += 2;
  }
  if (i < end) output_tile<T, 1, N>(task, i, n, apart);
}

// The same elements, bit for bit, from an unpacked weight.
template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void output_panel_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, const float* panel) {
  const FloatTag d;
  Floats sums[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Zero(d);
  add_panel_tile<R, N>(task.in + i * task.inner, task.inner, panel, grouped(task.inner), sums);
  finish_tile<T, R, N>(task, i, n, 1, sums);
}

template <class T, std::int64_t R>
HWY_INLINE void output_panel_rows(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t end,
                                  const float* panel) {
  const std::int64_t length = grouped(task.inner);
  for (; n + panel_outputs <= end; n += panel_outputs, panel += panel_outputs * length) {
    output_panel_tile<T, R, panel_outputs>(task, i, n, panel);
  }
  for (; n < end; ++n, panel += length) output_panel_tile<T, R, 1>(task, i, n, panel);
}

// A row of the weight, which is a column of the output.
template <class T>
HWY_INLINE void unpack_column(const MatvecTask<T>& task, std::int64_t c, float* to) {
  if constexpr (is_quantised<T>) {
    dequantise_row(task.values + c * row_bytes<T>(task.inner), task.factors + c * row_factors<T>(task.inner),
                   task.inner, to);
  } else {
    unpack(task.values + c * task.inner, task.inner, to);
  }
}

// Columns [begin, end), some of which are unpacked at a time into `panel`.
template <class T>
HWY_INLINE void output_panels(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, float* panel) {
  const std::int64_t length = grouped(task.inner);
  const std::int64_t columns = columns_a_panel(task.inner);
  for (std::int64_t n = begin; n < end; n += columns) {
    const std::int64_t panel_end = std::min(end, n + columns);
    for (std::int64_t c = n; c < panel_end; ++c) unpack_column(task, c, panel + (c - n) * length);
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

// Columns [begin, end) of the output. `room` is for panel_room() floats, which f32 does not use.
template <class T>
HWY_INLINE void output_columns(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, float* room) {
  if (!std::is_same_v<T, float> && task.rows >= least_unpacked_rows) return output_panels(task, begin, end, room);
  const std::int64_t apart = (end - begin) / tile_columns;
  const std::int64_t tiles_end = begin + apart * tile_columns;
  const std::int64_t stream_bytes = apart * task.inner * static_cast<std::int64_t>(sizeof(T));
  if (task.rows == 1) prefetch_beginnings(task.values + begin * task.inner, tile_columns, stream_bytes);
  for (std::int64_t i = 0; i < task.rows; i += rows_a_pass) {
    const std::int64_t rows_end = std::min(task.rows, i + rows_a_pass);
    for (std::int64_t n = begin; n < begin + apart; ++n) output_tiles<T, tile_columns>(task, i, rows_end, n, apart);
    for (std::int64_t n = tiles_end; n < end; ++n) output_tiles<T, 1>(task, i, rows_end, n, 1);
  }
}

// The same of a quantised weight. `room` is for factor_room() floats, or panel_room() if the weight becomes floats.
template <class T>
HWY_INLINE void output_quantised_columns(const MatvecTask<T>& task, std::int64_t begin, std::int64_t end, float* room) {
  if (task.as_floats) return output_panels(task, begin, end, room);
  if (task.rows == 1) {
    const std::int64_t bytes_a_row = row_bytes<T>(task.inner);
    const std::int64_t stream_bytes = (end - begin) / columns_of_one_row * bytes_a_row;
    prefetch_beginnings(task.values + begin * bytes_a_row, columns_of_one_row, stream_bytes);
  }
  if (loads_factors_first<T>) {
    for (std::int64_t n = begin; n < end; ++n) {
      load_factors(task, n, room + (n - begin) * factor_floats<T>(task.inner));
    }
  }
  for (std::int64_t i = 0; i < task.rows; i += rows_a_pass) {
    output_integer_columns(task, i, std::min(i + rows_a_pass, task.rows), begin, end, room);
  }
}

void matvec_f32(const MatvecTask<float>& task, std::int64_t begin, std::int64_t end, float* room) {
  output_columns(task, begin, end, room);
}
void matvec_bf16(const MatvecTask<BFloat16>& task, std::int64_t begin, std::int64_t end, float* room) {
  output_columns(task, begin, end, room);
}
void matvec_f16(const MatvecTask<Float16>& task, std::int64_t begin, std::int64_t end, float* room) {
  output_columns(task, begin, end, room);
}
void matvec_i8(const MatvecTask<std::int8_t>& task, std::int64_t begin, std::int64_t end, float* room) {
  output_quantised_columns(task, begin, end, room);
}
void matvec_u8(const MatvecTask<std::uint8_t>& task, std::int64_t begin, std::int64_t end, float* room) {
  output_quantised_columns(task, begin, end, room);
}

// Floats of a panel.
std::int64_t panel_room(std::int64_t inner) {
  return std::max(panel_floats, panel_outputs * grouped(inner));
}

// Floats of the factors of a quantised weight that are loaded at once, of a task's columns or of a tile's.
std::int64_t factor_room(std::int64_t columns, std::int64_t inner, bool nibbles) {
  return nibbles ? columns * factor_floats<std::uint8_t>(inner)
                 : columns_of_one_row * factor_floats<std::int8_t>(inner);
}

// Whether this many rows of the input meet a quantised weight faster as floats: where a vector has as many products of
// floats as of 16-bit integers a cycle, and floats need no scales.
bool faster_as_floats(std::int64_t rows) {
  return vector_lanes >= 16 && rows >= least_unpacked_rows;
}

// Floats of a row of the input in integers, for 4-bit weights or 8-bit ones; and making it.
std::int64_t quantised_floats(std::int64_t inner, bool nibbles) {
  return nibbles ? integer_row_floats<std::uint8_t>(inner) : integer_row_floats<std::int8_t>(inner);
}
void quantise(const float* from, std::int64_t inner, bool nibbles, float* to) {
  if (nibbles) {
    quantise_row<std::uint8_t>(from, inner, to);
  } else {
    quantise_row<std::int8_t>(from, inner, to);
  }
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
HWY_EXPORT(factor_room);
HWY_EXPORT(quantised_floats);
HWY_EXPORT(quantise);
HWY_EXPORT(faster_as_floats);

// Output columns of an iteration: enough for long streams of memory, and few enough for threads to share them.
std::int64_t columns_a_task(std::int64_t columns, double bytes_a_column) {
  constexpr std::int64_t unit = 32;
  constexpr double task_bytes = 128 << 10;
  constexpr std::int64_t tasks_a_thread = 4;
  const auto wanted = static_cast<std::int64_t>(task_bytes / std::max(bytes_a_column, 1.0));
  const std::int64_t shared = columns / (tasks_a_thread * parallel_threads());
  return std::max<std::int64_t>(std::min(wanted, shared) / unit, 1) * unit;
}

// Floats that a thread needs beside its arguments: for scales and minima, or for a panel.
std::int64_t room_floats(const Weight& weight, std::int64_t columns, std::int64_t inner, bool in_integers) {
  const DType dtype = weight.values.dtype();
  if (in_integers) return round_to_line(HWY_DYNAMIC_DISPATCH(factor_room)(columns, inner, dtype == DType::u8));
  return dtype == DType::f32 ? 0 : HWY_DYNAMIC_DISPATCH(panel_room)(inner);
}

// In tasks of `width` columns.
template <class T, class Kernel>
void run_matvec(const MatvecTask<T>& task, std::int64_t width, float* scratch, std::int64_t room,
                double bytes_an_element, Kernel kernel) {
  const auto body = [&](std::int64_t block, int slot) {
    const std::int64_t begin = block * width;
    kernel(task, begin, std::min(task.columns, begin + width), scratch + slot * room);
  };
  const Cost weight = {.flops = 2 * static_cast<double>(task.rows), .bytes = bytes_an_element};
  parallel_for_slots((task.columns + width - 1) / width, weight * (task.inner * std::min(width, task.columns)), body);
}

}  // namespace

void CpuBackend::matvec(const MatmulForward& op) {
  if (op.weight.transposed) return matvec_by_columns(op);
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t columns = op.weight.values.shape()[0];
  const bool quantised = static_cast<bool>(op.weight.scales);
  const bool nibbles = op.weight.values.dtype() == DType::u8;
  // Integers and floats round differently, so rows that must not depend on each other are always integers.
  const bool in_integers = quantised && (op.independent_rows || !HWY_DYNAMIC_DISPATCH(faster_as_floats)(rows));
  const double bytes_an_element = nibbles ? 0.5 : static_cast<double>(size_of(op.weight.values.dtype()));
  const std::int64_t width = columns_a_task(columns, bytes_an_element * static_cast<double>(inner));
  const std::int64_t room = room_floats(op.weight, width, inner, in_integers);
  const std::int64_t in_stride =
      in_integers ? round_to_line(HWY_DYNAMIC_DISPATCH(quantised_floats)(inner, nibbles)) : inner;
  const std::int64_t in_floats = in_integers ? rows * in_stride : 0;
  float* const scratch = scratch_->floats(static_cast<std::size_t>(in_floats + room * parallel_threads()));
  const float* in = data_of<float>(op.in);
  if (in_integers) {
    parallel_for(rows, Cost{.bytes = 16} * inner, [&](std::int64_t r) {
      HWY_DYNAMIC_DISPATCH(quantise)(data_of<float>(op.in) + r * inner, inner, nibbles, scratch + r * in_stride);
    });
    in = scratch;
  }
  const auto start = [&]<class T>(const T* values, auto kernel) {
    const MatvecTask<T> task = {.out = data_of<float>(op.out),
                                .in = in,
                                .in_stride = in_stride,
                                .values = values,
                                .factors = quantised ? data_of<Float16>(op.weight.scales) : nullptr,
                                .as_floats = quantised && !in_integers,
                                .rows = rows,
                                .inner = inner,
                                .columns = columns};
    run_matvec(task, width, scratch + in_floats, room, bytes_an_element, kernel);
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
