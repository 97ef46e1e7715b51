// Unicode's simple lowercase mappings as ranges, from the table that tools/generate_lowercase_table.py writes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mslt {

// Every `step`-th code point from first to last, both included, has a lowercase form `distance` further on.
struct LowercaseRange {
  char32_t first;
  char32_t last;
  std::int32_t step;
  std::int32_t distance;
};

extern const LowercaseRange lowercase_ranges[];  // sorted by `first`, not overlapping
extern const std::size_t lowercase_range_count;

}  // namespace mslt
