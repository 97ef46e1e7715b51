// The merge rules of byte-pair encoding, by pair.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/bit_filter.h"

namespace mslt {

// Neighbours `left`, `right` become `result`; lower ranks first, among equal ranks the leftmost. Ranks may repeat (in a
// .tiktoken file, several pairs can make one token).
struct MergeRule {
  TokenId left = 0;
  TokenId right = 0;
  TokenId result = 0;
  std::uint32_t rank = 0;
  bool operator==(const MergeRule&) const = default;
};

// Both sides of a merge as files spell it, "left right"; nothing unless it has exactly one space.
std::optional<std::pair<std::string_view, std::string_view>> merge_sides(std::string_view text);

// Merge rules by pair, in an open-addressing table.
class MergeTable {
 public:
  struct Entry {
    std::uint64_t pair = no_pair;
    std::uint32_t rank = no_rank;
    TokenId result = 0;
  };
  static constexpr std::uint64_t no_pair = ~std::uint64_t{0};
  static constexpr std::uint32_t no_rank = ~std::uint32_t{0};

  explicit MergeTable(std::span<const MergeRule> rules);

  // The rule of this pair; its rank is no_rank if there is none. If a pair repeats, the first inserted rule applies.
  const Entry& find(TokenId left, TokenId right) const {
    const std::uint64_t pair = pair_of(left, right);
    std::size_t index = hash_of(pair) >> shift_;
    while (entries_[index].pair != pair && entries_[index].pair != no_pair) index = (index + 1) & mask_;
    return entries_[index];
  }

  // The same, faster where most pairs have no rule: a small table tells for nearly all of them.
  const Entry& find_rare(TokenId left, TokenId right) const {
    return pairs_.may_hold(hash_of(pair_of(left, right))) ? find(left, right) : absent;
  }

  // The memory that find() reads first.
  const void* place_of(TokenId left, TokenId right) const { return &entries_[hash_of(pair_of(left, right)) >> shift_]; }

 private:
  static std::uint64_t pair_of(TokenId left, TokenId right) { return (std::uint64_t{left} << 32) | right; }
  static std::uint64_t hash_of(std::uint64_t pair) { return pair * 0x9E3779B97F4A7C15u; }
  static const Entry absent;

  std::vector<Entry> entries_;
  BitFilter<std::uint64_t> pairs_;  // that have a rule
  std::size_t mask_ = 0;
  int shift_ = 0;
};

// The tokens of single bytes.
struct ByteTokens {
  static constexpr TokenId none = ~TokenId{0};

  std::array<TokenId, 256> byte_tokens{};         // `none` if a byte has no token
  std::optional<TokenId> unknown = std::nullopt;  // replaces those bytes; without it they are dropped
  bool fuse_unknown = false;                      // one `unknown` for several in a row
};

}  // namespace mslt
