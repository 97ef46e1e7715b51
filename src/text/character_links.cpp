// Places pairs of characters so that one look at one slot finds each.
#include "text/character_links.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>

namespace mslt {

CharacterLinks::CharacterLinks(std::span<const Entry> entries) {
  constexpr std::size_t least_slots = 64;
  constexpr std::uint64_t tries = 8;
  const std::size_t slots = std::bit_ceil(std::max(least_slots, entries.size() + entries.size() / 4));
  for (std::uint64_t i = 0; i < tries; ++i) {
    multiplier_ = std::uint64_t{0x9E3779B97F4A7C15} * (2 * i + 1);
    slots_.assign(slots << (i / 4), 0);
    displacements_.assign(std::max<std::size_t>(2, slots / 4), 0);
    slot_shift_ = 64 - std::countr_zero(slots_.size());
    group_shift_ = 64 - std::countr_zero(displacements_.size());
    if (place(entries)) return;
  }
  // Pairs made to collide: all may be joined, which is slower and still right.
  std::ranges::fill(slots_, 0);
  known_ = unknown;
}

// Whether each pair got a slot of its own. Large groups choose first.
bool CharacterLinks::place(std::span<const Entry> entries) {
  std::vector<std::uint32_t> group_ends(displacements_.size() + 1, 0);
  for (const Entry& entry : entries) ++group_ends[group_of(hash_of(entry.pair)) + 1];
  std::partial_sum(group_ends.begin(), group_ends.end(), group_ends.begin());
  std::vector<std::uint32_t> begins(group_ends.begin(), group_ends.end() - 1);
  std::vector<std::uint32_t> members(entries.size());
  for (std::uint32_t i = 0; i < entries.size(); ++i) members[begins[group_of(hash_of(entries[i].pair))]++] = i;
  std::vector<std::uint32_t> groups(displacements_.size());
  std::iota(groups.begin(), groups.end(), 0);
  std::ranges::sort(groups, std::greater<>(), [&](std::uint32_t group) {
    return (std::uint64_t{group_ends[group + 1] - group_ends[group]} << 32) | group;
  });
  constexpr unsigned most_displacements = 256;
  constexpr std::size_t most_members = 64;
  for (const std::uint32_t group : groups) {
    const auto group_members = std::span(members).subspan(group_ends[group], group_ends[group + 1] - group_ends[group]);
    if (group_members.size() > most_members) return false;
    unsigned displacement = 0;
    for (; displacement < most_displacements; ++displacement) {
      std::size_t placed = 0;
      for (; placed < group_members.size(); ++placed) {
        const Entry& entry = entries[group_members[placed]];
        std::uint64_t& slot = slots_[slot_of(hash_of(entry.pair), displacement)];
        if (slot != 0) break;
        slot = (std::uint64_t{entry.pair} << 32) | entry.link;
      }
      if (placed == group_members.size()) break;
      for (const std::uint32_t member : group_members.first(placed)) {
        slots_[slot_of(hash_of(entries[member].pair), displacement)] = 0;
      }
    }
    if (displacement == most_displacements) return false;
    displacements_[group] = static_cast<std::uint8_t>(displacement);
  }
  return true;
}

}  // namespace mslt
