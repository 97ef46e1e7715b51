// Unicode's simple lowercase mappings as ranges, from the table written by tools/generate_lowercase_table.py.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>

namespace mslt {

// Every `step`-th code point from first to last, both included, has a lowercase form `distance` higher.
struct LowercaseRange {
  char32_t first;
  char32_t last;
  std::int32_t step;
  std::int32_t distance;
};

extern const LowercaseRange lowercase_ranges[];  // sorted by `first`, not overlapping
extern const std::size_t lowercase_range_count;

// The simple lowercase mapping of a code point.
inline char32_t lowercase_of(char32_t code_point) {
  const std::span ranges(lowercase_ranges, lowercase_range_count);
  const auto after = std::ranges::upper_bound(ranges, code_point, {}, &LowercaseRange::first);
  if (after == ranges.begin()) return code_point;
  const LowercaseRange& range = *std::prev(after);
  if (code_point > range.last || (code_point - range.first) % static_cast<char32_t>(range.step) != 0) return code_point;
  return static_cast<char32_t>(static_cast<std::int32_t>(code_point) + range.distance);
}

}  // namespace mslt
