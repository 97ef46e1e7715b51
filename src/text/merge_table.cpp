// Fills the table of merge rules.
#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace mslt {

MergeTable::MergeTable(std::span<const MergeRule> rules) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(16, 2 * rules.size()));
  entries_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
  for (const MergeRule& rule : rules) {
    auto& entry = const_cast<Entry&>(find(rule.left, rule.right));
    if (entry.pair != no_pair) continue;
    entry = {.pair = (std::uint64_t{rule.left} << 32) | rule.right, .rank = rule.rank, .result = rule.result};
  }
}

}  // namespace mslt
