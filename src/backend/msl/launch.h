// Launch shapes of the kernels whose threads work on spans of eight elements.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "backend/msl/driver.h"
#include "backend/msl/encoder.h"
#include "backend/operations/parameters.h"
#include "base/fail.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// As in kernels/lib/span.h.
inline constexpr std::int64_t span_width = 8;
inline constexpr std::int64_t simdgroup_width = 32;

// Of a threadgroup that joins partial sums of columns: columns, and threads of each. As in kernels/lib/part_sum.h.
inline constexpr std::uint32_t join_columns = 32;
inline constexpr std::uint32_t join_rows = 32;

struct Launch {
  GridSize groups;
  GridSize threads;
};

// A count that a kernel takes as 32 bits. Throws Error(input) naming the operation if it does not fit.
inline std::uint32_t count32(std::int64_t count, std::string_view operation) {
  if (count < 0 || count > std::numeric_limits<std::uint32_t>::max()) {
    fail(ErrorKind::input, "{}: {} rows or columns are more than the kernels count, {}.", operation, count,
         std::numeric_limits<std::uint32_t>::max());
  }
  return static_cast<std::uint32_t>(count);
}

// AttentionShape's window as the kernels count it: no window is one beyond all positions.
inline std::uint32_t window_of(const AttentionShape& shape) {
  return shape.window > 0 ? static_cast<std::uint32_t>(shape.window) : std::numeric_limits<std::uint32_t>::max();
}

// Whether the tensor starts at a multiple of 16 bytes, or is absent.
inline bool is_aligned(const Tensor& tensor) {
  return !tensor || tensor.offset() % 16 == 0;
}

// 1 if all tensors start at multiples of 16 bytes and `columns` is a multiple of the span, so all spans are aligned.
template <class... Tensors>
std::uint32_t aligned_rows(std::int64_t columns, const Tensors&... tensors) {
  return columns % span_width == 0 && (is_aligned(tensors) && ...) ? 1u : 0u;
}

// One thread per span of `count` contiguous elements, `threads` per group.
inline Launch span_launch(std::int64_t count, std::int64_t threads) {
  return {{group_count(count, threads * span_width), 1, 1}, {static_cast<std::uint32_t>(threads), 1, 1}};
}

// One thread per span of each row. In a threadgroup, spans are along x and rows along y; in the grid, rows are along x
// and columns along y. Columns must be at least 1, `threads` a power of two and at least 32.
inline Launch tile_launch(std::int64_t rows, std::int64_t columns, std::int64_t threads) {
  const std::int64_t spans = (columns + span_width - 1) / span_width;
  std::uint32_t across = 1;
  while (across < simdgroup_width && across < spans) across *= 2;
  const std::uint32_t down = static_cast<std::uint32_t>(threads) / across;
  return {{group_count(rows, down), group_count(spans, across), 1}, {across, down, 1}};
}

// One simdgroup per row, `group_rows` of them per group.
inline Launch row_launch(std::int64_t rows, std::int64_t group_rows) {
  return {{group_count(rows, group_rows), 1, 1}, {static_cast<std::uint32_t>(simdgroup_width * group_rows), 1, 1}};
}

// Threads of a group that processes a row together: whole simdgroups, as few as give each thread `each` elements, at
// most `limit`.
inline std::uint32_t row_threads(std::int64_t columns, std::int64_t each, std::int64_t limit) {
  const std::int64_t wanted = (columns + each - 1) / each;
  const std::int64_t rounded = (wanted + simdgroup_width - 1) / simdgroup_width * simdgroup_width;
  return static_cast<std::uint32_t>(std::clamp(rounded, simdgroup_width, limit));
}

}  // namespace mslt::msl
