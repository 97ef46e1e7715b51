// Splitting work into blocks of a fixed size, which makes results independent of the thread count.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/parallel.h"

namespace mslt {

// Elements per iteration of an element-wise loop: large enough to hide the loop's overhead, small enough for L1 and
// stack.
inline constexpr std::int64_t element_block = 2048;

// Calls body(first, count) for consecutive blocks of [0, n), each of `block` elements except the last, in parallel;
// `element` is what one of the n costs.
template <class Body>
void for_blocks(std::int64_t n, std::int64_t block, const Cost& element, Body&& body) {
  parallel_for((n + block - 1) / block, element * std::min(n, block),
               [&](std::int64_t i) { body(i * block, std::min(block, n - i * block)); });
}

// Rows per block, so that a block has about `elements` elements and at least one row.
inline std::int64_t rows_for(std::int64_t columns, std::int64_t elements) {
  return std::max<std::int64_t>(1, elements / std::max<std::int64_t>(1, columns));
}

}  // namespace mslt
