// Characters that merging always makes whole first, so that it can start from them instead of from bytes, and the
// places between them that no rule joins, so that it can treat the parts apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/bit_filter.h"
#include "text/merge_table.h"

namespace mslt {

// Let a character's bytes alone merge into one token, step by step. If at each step, every rule that joins one of its
// symbols with a symbol outside the character has a higher rank than the step's own rule, then the character becomes
// that token before any such rule applies. Merging may start from it if the rules of that token itself have higher
// ranks, too, which is so after training: else they would apply too early. For characters of two bytes, this depends on
// the byte before: a vocabulary of Cyrillic text has rules that join a space with the first byte of a letter. In
// Chinese text this leaves a third of the symbols to merge.
//
// A rule can join two such characters only if its left side ends with the first and its right side starts with the
// second. Few pairs of characters in a text have such a rule, so most parts between the others are short. Immutable.
class CharacterTokens {
 public:
  // Consecutive symbols of a piece.
  struct Block {
    static constexpr std::size_t size = 64;
    std::array<TokenId, size> symbols;
    std::size_t count = 0;
    // Bit i: no rule joins anything before symbol i with anything from it on. Set for the first symbol of a piece.
    std::uint64_t starts = 0;

   private:
    friend CharacterTokens;
    std::uint32_t previous_ = 0;  // the last symbol's character, or 0
  };

  CharacterTokens(const ByteTokens& bytes, std::span<const MergeRule> rules, const MergeTable& table,
                  std::span<const std::string> tokens);

  // Sets `block` to the symbols that merging `piece` starts from, from the byte `begin` on: such characters' tokens,
  // and the tokens of all other bytes. Returns where they end. `begin` is 0, or where the previous call with the same
  // block ended; at least one byte must follow. Each byte must have a token.
  std::size_t next_block(std::string_view piece, std::size_t begin, Block& block, const MergeTable& table) const;

  // Appends all symbols of a piece.
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols, const MergeTable& table) const;

 private:
  // Of a character of two bytes: its token, and the rank of its rule.
  struct Pair {
    TokenId token = ByteTokens::none;
    std::uint32_t rank = 0;
  };
  struct Ranks;

  void add_pair(std::string_view bytes, std::size_t character, const MergeTable& table, const Ranks& ranks);
  void add_longer(std::string_view bytes, std::size_t character, const MergeTable& table, const Ranks& ranks);
  void add_joints(std::span<const MergeRule> rules, std::span<const std::string> tokens);

  static std::uint32_t joint_of(std::uint32_t left, std::uint32_t right) {
    return ((left << 16) | right) * std::uint32_t{0x9E3779B1};
  }

  std::array<TokenId, 256> byte_tokens_;
  std::vector<Pair> pairs_;                // by code point up to U+07FF
  std::vector<std::uint32_t> lead_ranks_;  // by lead byte of such a character and the byte before it
  std::vector<TokenId> tokens_;            // by code point of three bytes; ByteTokens::none if it does not qualify
  BitFilter<std::uint32_t> joints_;        // hashes of two characters that a rule may join
};

}  // namespace mslt
