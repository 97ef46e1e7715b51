// Merge rules as text and in their table.
#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace mslt {

std::optional<std::pair<std::string_view, std::string_view>> merge_sides(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

const MergeTable::Entry MergeTable::absent;

MergeTable::MergeTable(std::span<const MergeRule> rules) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(16, 2 * rules.size()));
  entries_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
  constexpr std::size_t bits_per_entry = 8;
  pairs_ = BitFilter<std::uint64_t>(size * bits_per_entry);
  for (const MergeRule& rule : rules) {
    const std::uint64_t pair = pair_of(rule.left, rule.right);
    pairs_.add(hash_of(pair));
    auto& entry = const_cast<Entry&>(find(rule.left, rule.right));
    if (entry.pair != no_pair) continue;
    entry = {.pair = pair, .rank = rule.rank, .result = rule.result};
  }
}

}  // namespace mslt
