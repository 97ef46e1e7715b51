// Products of few rows with transposed weights, whose rows are added up, each times an element of the input.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/matvec_by_columns.cpp"
#include <hwy/foreach_target.h>
// Above: compiles this file once a target.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "backend/cpu/float_vectors-inl.h"
#include "backend/cpu/matvec_task.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// Rows of the weight that are read at once, so that a sum is loaded and stored once for all of them. They are apart, so
// that each is a long stream of memory: the processor fetches several of those ahead, but not several that are less
// than a page long.
constexpr std::int64_t rows_at_once = 8;
// Rows of the input at a time, so that their sums and parts stay in the caches.
constexpr std::int64_t most_rows = 16;

// sums[m][j] += in[m][k] · weight[k][j] + … for the R rows k, k + apart, … of the weight, in this order.
template <std::int64_t R, class T>
HWY_INLINE void add_weight_rows(const MatvecPart<T>& task, std::int64_t k, std::int64_t apart) {
  const FloatTag d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  const T* const weight = task.weight + k * task.weight_stride;
  const std::int64_t next = apart * task.weight_stride;
  // Together, since rows of the input may be so far apart that they share a line of the cache.
  float in[most_rows * R];
  for (std::int64_t m = 0; m < task.count; ++m) {
    for (std::int64_t r = 0; r < R; ++r) in[m * R + r] = task.in[m * task.in_stride + k + r * apart];
  }
  std::int64_t j = 0;
  for (; j + step <= task.width; j += step) {
    Floats rows[R];
    for (std::int64_t r = 0; r < R; ++r) rows[r] = load_floats(d, weight + r * next + j);
    for (std::int64_t m = 0; m < task.count; ++m) {
      const float* const x = in + m * R;
      float* const sum = task.sums + m * task.width + j;
      Floats part = hn::Mul(hn::Set(d, x[0]), rows[0]);
      HWY_UNROLL(8)
      for (std::int64_t r = 1; r < R; ++r) part = hn::MulAdd(hn::Set(d, x[r]), rows[r], part);
      hn::StoreU(hn::Add(hn::LoadU(d, sum), part), d, sum);
    }
  }
  for (; j < task.width; ++j) {
    for (std::int64_t m = 0; m < task.count; ++m) {
      const float* const x = in + m * R;
      float part = 0.0f;
      for (std::int64_t r = 0; r < R; ++r) part += x[r] * to_float(weight[r * next + j]);
      task.sums[m * task.width + j] += part;
    }
  }
}

template <class T>
HWY_INLINE void sum_rows(const MatvecPart<T>& task) {
  std::fill_n(task.sums, task.count * task.width, 0.0f);
  const std::int64_t apart = task.inner / rows_at_once;
  for (std::int64_t k = 0; k < apart; ++k) add_weight_rows<rows_at_once>(task, k, apart);
  for (std::int64_t k = apart * rows_at_once; k < task.inner; ++k) add_weight_rows<1>(task, k, 1);
}

void sum_rows_f32(const MatvecPart<float>& task) {
  sum_rows(task);
}
void sum_rows_bf16(const MatvecPart<BFloat16>& task) {
  sum_rows(task);
}
void sum_rows_f16(const MatvecPart<Float16>& task) {
  sum_rows(task);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_ops.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/views.h"
#include "base/parallel.h"

namespace mslt {
namespace {

HWY_EXPORT(sum_rows_f32);
HWY_EXPORT(sum_rows_bf16);
HWY_EXPORT(sum_rows_f16);

// Every sum is made in so many parts, of neighbouring rows of the weight: threads read memory from end to end, and bits
// depend on neither their number nor that of the input's rows.
constexpr std::int64_t most_parts = 8;
// Sums of a task, for the first-level cache; columns in units that every vector divides.
constexpr std::int64_t sums_a_task = 6144;
constexpr std::int64_t column_unit = 64;

std::int64_t rounded_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Columns of a task: fewer than the sums allow where threads would be without a task.
std::int64_t columns_a_task(std::int64_t columns, std::int64_t rows, std::int64_t parts) {
  const std::int64_t least_blocks = rounded_up(parallel_threads(), parts) / parts;
  const std::int64_t width = std::min(sums_a_task / rows, (columns + least_blocks - 1) / least_blocks);
  return rounded_up(std::max<std::int64_t>(width, 1), column_unit);
}

}  // namespace

void CpuBackend::matvec_by_columns(const MatmulForward& op) {
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t columns = op.weight.outputs();
  const std::int64_t part_rows = rounded_up((inner + most_parts - 1) / most_parts, HWY_NAMESPACE::rows_at_once);
  const std::int64_t parts = std::max<std::int64_t>((inner + part_rows - 1) / std::max<std::int64_t>(part_rows, 1), 1);
  const std::int64_t rows_a_pass = std::min(op.in.shape().rows(), HWY_NAMESPACE::most_rows);
  float* const scratch = scratch_->floats(static_cast<std::size_t>(parts * rows_a_pass * columns));
  const auto multiply_rows = [&]<class T>(const T* values, std::int64_t i, std::int64_t rows, auto kernel) {
    const std::int64_t width = columns_a_task(columns, rows, parts);
    const std::int64_t blocks = (columns + width - 1) / width;
    const std::int64_t part_sums = rows * columns;
    const Cost element = {.flops = 2 * static_cast<double>(rows), .bytes = sizeof(T)};
    // The sums of a task lie together: rows as far apart as those of the output might share lines of the cache.
    parallel_for(parts * blocks, element * (part_rows * std::min(width, columns)), [&](std::int64_t task) {
      const std::int64_t part = task / blocks;
      const std::int64_t column = task % blocks * width;
      kernel({.in = data_of<float>(op.in) + i * inner + part * part_rows,
              .in_stride = inner,
              .count = rows,
              .weight = values + part * part_rows * columns + column,
              .weight_stride = columns,
              .inner = std::min(part_rows, inner - part * part_rows),
              .sums = scratch + part * part_sums + rows * column,
              .width = std::min(width, columns - column)});
    });
    parallel_for(rows, Cost{.bytes = 4.0 * static_cast<double>(parts + 1)} * columns, [&](std::int64_t r) {
      float* const out = data_of<float>(op.out) + (i + r) * columns;
      for (std::int64_t column = 0; column < columns; column += width) {
        const std::int64_t count = std::min(width, columns - column);
        const float* const sums = scratch + rows * column + r * count;
        std::copy_n(sums, count, out + column);
        for (std::int64_t part = 1; part < parts; ++part) {
          add_floats(out + column, out + column, sums + part * part_sums, count);
        }
      }
    });
  };
  for (std::int64_t i = 0; i < op.in.shape().rows(); i += rows_a_pass) {
    const std::int64_t rows = std::min(rows_a_pass, op.in.shape().rows() - i);
    switch (op.weight.values.dtype()) {
      case DType::bf16:
        multiply_rows(data_of<BFloat16>(op.weight.values), i, rows, HWY_DYNAMIC_DISPATCH(sum_rows_bf16));
        break;
      case DType::f16:
        multiply_rows(data_of<Float16>(op.weight.values), i, rows, HWY_DYNAMIC_DISPATCH(sum_rows_f16));
        break;
      default:
        multiply_rows(data_of<float>(op.weight.values), i, rows, HWY_DYNAMIC_DISPATCH(sum_rows_f32));
    }
  }
}

}  // namespace mslt
#endif
