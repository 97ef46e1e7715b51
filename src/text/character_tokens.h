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
#include "text/character_links.h"
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
// second. Few pairs of characters in a text have such a rule, so most parts between the others are short. The lowest
// ranks of such rules, the links, also tell which pairs merge for sure: one with a rule of its own whose rank is below
// the links on both sides. It comes before all rules that join either character with anything else, and these have
// higher ranks than the pair's, so that it may as well come first of all. So come about three quarters of the
// merges of Chinese text. Immutable.
class CharacterTokens {
 public:
  // The symbols of pieces that merging starts from, and the link of each with the one before it: CharacterLinks::none
  // for the first of a piece, and where no rule joins anything before it with anything from it on.
  struct Symbols {
    static constexpr std::size_t size = 512;
    static constexpr std::size_t spare = 16;  // behind the last ones, for reading and writing several at once
    std::array<TokenId, size + spare> symbols;
    std::array<CharacterLinks::Link, size + spare> links;
    std::size_t count = 0;

    // Appends the first `some` of `ids`, which no rule joins with anything. There must be room for all.
    template <std::size_t all>
    void append(const std::array<TokenId, all>& ids, std::size_t some) {
      for (std::size_t i = 0; i < all; ++i) {
        symbols[count + i] = ids[i];
        links[count + i] = CharacterLinks::none;
      }
      count += some;
    }
  };

  // A place within a piece.
  struct Place {
    std::size_t byte = 0;
    std::uint32_t previous = 0;  // the character before it; 0 if it has no token here or at the piece's start
  };

  CharacterTokens(const ByteTokens& bytes, std::span<const MergeRule> rules, const MergeTable& table,
                  std::span<const std::string> tokens);

  // Appends the symbols of `piece` from `place` on: such characters' tokens, and the tokens of all other bytes. Stops,
  // if there is no room for more, at a place to go on from; each piece starts from Place(). Each byte must have a
  // token.
  void append(std::string_view piece, Place& place, Symbols& symbols) const;

  // Whether a rule may join a symbol with the next: each is one of append's, or the token that the link of two of them
  // names, and their link is known.
  bool may_join(TokenId left, TokenId right) const { return joints_.may_hold(joint_of(left, right)); }

  // Appends all symbols of a piece.
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const;

 private:
  // Of a character of two bytes: its token, and the rank of its rule.
  struct Pair {
    TokenId token = ByteTokens::none;
    std::uint32_t rank = 0;
  };
  struct Ranks;

  void add_pair(std::string_view bytes, std::size_t character, const MergeTable& table, const Ranks& ranks);
  void add_longer(std::string_view bytes, std::size_t character, const MergeTable& table, const Ranks& ranks);
  void add_links(std::span<const MergeRule> rules, std::span<const std::string> tokens);
  void add_joints(std::span<const MergeRule> rules, std::span<const std::string> tokens);
  TokenId token_of(std::uint32_t character) const;

  static std::uint64_t joint_of(TokenId left, TokenId right) {
    return ((std::uint64_t{left} << 32) | right) * std::uint64_t{0x9E3779B97F4A7C15};
  }

  std::array<TokenId, 256> byte_tokens_;
  std::vector<Pair> pairs_;                // by code point up to U+07FF
  std::vector<std::uint32_t> lead_ranks_;  // by lead byte of such a character and the byte before it
  std::vector<TokenId> tokens_;            // by code point of three bytes; ByteTokens::none if it does not qualify
  CharacterLinks links_;
  BitFilter<std::uint64_t> joints_;  // hashes of two symbols that a rule may join
};

}  // namespace mslt
