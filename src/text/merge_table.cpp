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

std::vector<MergeRule> ranked_by_result(std::span<const MergeRule> rules) {
  std::vector<MergeRule> ranked(rules.begin(), rules.end());
  for (std::size_t i = 1; i < rules.size(); ++i) {
    const auto rank = rules[i].rank <=> rules[i - 1].rank;
    if (rank < 0 || rank != rules[i].result <=> rules[i - 1].result) return ranked;
  }
  for (MergeRule& rule : ranked) rule.rank = rule.result;
  return ranked;
}

MergeTable::MergeTable(std::span<const MergeRule> rules) {
  const int least_bits = std::bit_width(std::max<std::size_t>(16, 2 * rules.size()) - 1);
  is_small_ = std::ranges::all_of(rules, [](const MergeRule& rule) {
    return rule.rank == rule.result && std::max({rule.left, rule.right, rule.result}) < id_limit;
  });
  constexpr int tries = 3;
  const int small_bits = std::max(least_bits, hidden_bits + 4);
  for (int bits = small_bits; is_small_; ++bits) {
    set_size(bits);
    if (place_slots(rules)) break;
    is_small_ = bits < small_bits + tries;
  }
  if (!is_small_) {
    slots_ = {};
    set_size(least_bits);
    place_entries(rules);
  }
  constexpr std::size_t bits_per_entry = 8;
  pairs_ = BitFilter<std::uint64_t>(bits_per_entry << least_bits);
  for (const MergeRule& rule : rules) pairs_.add(hash_of(rule.left, rule.right));
}

void MergeTable::set_size(int bits) {
  mask_ = (std::size_t{1} << bits) - 1;
  shift_ = 64 - bits;
}

// Whether no two pairs can be taken for each other. If only the upper 8 bits of their hashes differ, then they start
// 1/256 of the table apart, or a multiple of that; so it is enough that each run of occupied slots is shorter.
bool MergeTable::place_slots(std::span<const MergeRule> rules) {
  slots_.assign(mask_ + 1, free_slot);
  for (const MergeRule& rule : rules) {
    if (find(rule.left, rule.right).rank != no_rank) continue;
    const std::uint64_t hash = hash_of(rule.left, rule.right);
    std::size_t index = hash >> shift_;
    while (slots_[index] != free_slot) index = (index + 1) & mask_;
    slots_[index] = (hash << hidden_bits) | rule.result;
  }
  const std::size_t run_limit = slots_.size() >> hidden_bits;
  std::size_t run = 0;
  for (std::size_t i = 0; i < slots_.size() + run_limit; ++i) {
    run = slots_[i & mask_] == free_slot ? 0 : run + 1;
    if (run >= run_limit) return false;
  }
  return true;
}

void MergeTable::place_entries(std::span<const MergeRule> rules) {
  entries_.resize(mask_ + 1);
  for (const MergeRule& rule : rules) {
    const std::uint64_t pair = pair_of(rule.left, rule.right);
    std::size_t index = hash_of(rule.left, rule.right) >> shift_;
    while (entries_[index].pair != pair && entries_[index].pair != no_pair) index = (index + 1) & mask_;
    if (entries_[index].pair == no_pair) {
      entries_[index] = {.pair = pair, .merge = {.rank = rule.rank, .result = rule.result}};
    }
  }
}

}  // namespace mslt
