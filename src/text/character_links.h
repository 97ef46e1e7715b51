// What merge rules say about each pair of neighbouring characters, in a table that is read without branches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mslt {

// The link of two characters: the lowest rank of any rule whose left side ends with the first and whose right side
// starts with the second, doubled; and one more unless that rule joins these two alone and its rank is also the token
// that it makes. Immutable.
class CharacterLinks {
 public:
  using Link = std::uint32_t;
  static constexpr Link none = ~Link{0};             // no rule joins them
  static constexpr Link unknown = 1;                 // a rule of any rank may
  static constexpr Link rank_limit = Link{1} << 30;  // from here on, and for rank 0, `unknown` stands for any

  static Link link_of(std::uint32_t rank, bool is_of_two) { return 2 * rank + (is_of_two ? 0 : 1); }
  // Whether it is that of a rule of these two alone, and the token that it makes.
  static bool is_of_two(Link link) { return link % 2 == 0; }
  static std::uint32_t token_of(Link link) { return link / 2; }

  struct Entry {
    std::uint32_t pair;
    Link link;
  };

  // A pair of code points below 2^16; `left` is not 0.
  static std::uint32_t pair_of(std::uint32_t left, std::uint32_t right) { return (left << 16) | right; }

  CharacterLinks() : CharacterLinks(std::span<const Entry>()) {}
  // Each pair once; no pair is 0. If they cannot be placed, all links are unknown.
  explicit CharacterLinks(std::span<const Entry> entries);

  Link find(std::uint32_t left, std::uint32_t right) const {
    const std::uint32_t pair = pair_of(left, right);
    const std::uint64_t slot = slots_[place_of(pair)];
    // A compiler makes a branch of a condition, which would be guessed wrong often.
    const auto is_other = static_cast<Link>(static_cast<std::uint32_t>(slot >> 32) != pair);
    return (static_cast<Link>(slot) | (Link{0} - is_other)) & known_;
  }

 private:
  // A pair's hash names its group, and the group's displacement the slot of each pair in it. Displacements were
  // searched so that no two pairs share a slot.
  std::uint64_t hash_of(std::uint32_t pair) const { return pair * multiplier_; }
  std::size_t group_of(std::uint64_t hash) const { return hash >> group_shift_; }
  std::size_t slot_of(std::uint64_t hash, unsigned displacement) const {
    return ((hash ^ displacement) * std::uint64_t{0xD6E8FEB86659FD93}) >> slot_shift_;
  }
  std::size_t place_of(std::uint32_t pair) const {
    const std::uint64_t hash = hash_of(pair);
    return slot_of(hash, displacements_[group_of(hash)]);
  }
  bool place(std::span<const Entry> entries);

  std::vector<std::uint64_t> slots_;  // a pair in the upper half, its link in the lower
  std::vector<std::uint8_t> displacements_;
  int slot_shift_ = 0;
  int group_shift_ = 0;
  std::uint64_t multiplier_ = 0;
  Link known_ = none;  // the bits of links that are known: all, or those of `unknown`
};

}  // namespace mslt
