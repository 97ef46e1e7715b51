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

// The same rules with each one's result as its rank, if that keeps their order, which is so after training; else as
// they are. `rules` are by rising rank.
std::vector<MergeRule> ranked_by_result(std::span<const MergeRule> rules);

// Merge rules by pair, in an open-addressing table. Its slots have half of the size if each rule's rank is its result.
class MergeTable {
 public:
  static constexpr std::uint32_t no_rank = ~std::uint32_t{0};

  struct Merge {
    std::uint32_t rank = no_rank;
    TokenId result = 0;
  };

  explicit MergeTable(std::span<const MergeRule> rules);

  // The rule of this pair; its rank is no_rank if there is none. If a pair repeats, the first inserted rule applies.
  Merge find(TokenId left, TokenId right) const { return find_hashed(left, right, hash_of(left, right)); }

  // The same, faster where most pairs have no rule: a small table tells for nearly all of them.
  Merge find_rare(TokenId left, TokenId right) const {
    const std::uint64_t hash = hash_of(left, right);
    return pairs_.may_hold(hash) ? find_hashed(left, right, hash) : Merge{};
  }

  // Starts to load the memory that find() reads first.
  void prefetch(TokenId left, TokenId right) const {
    const std::size_t index = hash_of(left, right) >> shift_;
    __builtin_prefetch(is_small_ ? static_cast<const void*>(&slots_[index]) : &entries_[index]);
  }

 private:
  struct Entry {
    std::uint64_t pair = no_pair;
    Merge merge;
  };
  static constexpr std::uint64_t no_pair = ~std::uint64_t{0};

  // A slot holds the lower 40 of the 48 bits of a pair's hash, then the result. The hash is one to one, and its upper
  // 8 bits follow from where the slot is: see place_slots.
  static constexpr int id_bits = 24;
  static constexpr std::uint64_t id_limit = (std::uint64_t{1} << id_bits) - 1;  // the highest marks a free slot
  static constexpr std::uint64_t free_slot = ~std::uint64_t{0};
  static constexpr int hidden_bits = 8;

  static std::uint64_t pair_of(TokenId left, TokenId right) { return (std::uint64_t{left} << 32) | right; }
  // The upper 48 bits are a hash of the lower 24 bits of both.
  static std::uint64_t hash_of(TokenId left, TokenId right) {
    return ((std::uint64_t{left} << (64 - id_bits)) | (std::uint64_t{right} << (64 - 2 * id_bits))) *
           0x9E3779B97F4A7C15u;
  }

  Merge find_hashed(TokenId left, TokenId right, std::uint64_t hash) const {
    std::size_t index = hash >> shift_;
    if (is_small_) [[likely]] {
      const std::uint64_t key = hash << hidden_bits;
      while (true) {
        const std::uint64_t slot = slots_[index];
        if (const std::uint64_t result = slot ^ key; result < id_limit) {
          return {.rank = static_cast<std::uint32_t>(result), .result = static_cast<TokenId>(result)};
        }
        if (slot == free_slot) return {};
        index = (index + 1) & mask_;
      }
    }
    const std::uint64_t pair = pair_of(left, right);
    while (entries_[index].pair != pair && entries_[index].pair != no_pair) index = (index + 1) & mask_;
    return entries_[index].merge;
  }

  void set_size(int bits);
  bool place_slots(std::span<const MergeRule> rules);
  void place_entries(std::span<const MergeRule> rules);

  bool is_small_ = false;
  std::vector<std::uint64_t> slots_;  // if small
  std::vector<Entry> entries_;        // otherwise
  BitFilter<std::uint64_t> pairs_;    // that have a rule
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
