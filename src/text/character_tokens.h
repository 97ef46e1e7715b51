// Characters outside ASCII that merging always makes whole first, so that it can start from them instead of from bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/merge_table.h"

namespace mslt {

// Let a character's bytes alone merge into one token, by rules of ranks up to r. If every rule that joins one of the
// symbols on the way with a symbol outside the character has a rank above r, then the character becomes that token in
// any text, before any such rule applies. In Chinese text this leaves a third of the symbols to merge. Immutable.
class CharacterTokens {
 public:
  CharacterTokens(const ByteTokens& bytes, std::span<const MergeRule> rules, const MergeTable& table,
                  std::span<const std::string> tokens);

  // Appends the symbols that merging `piece` starts from: such characters' tokens, and the tokens of all other bytes.
  // Each byte must have a token.
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const;

 private:
  // The token of the character at `position` and its size in bytes, or size 0.
  struct Found {
    TokenId token;
    std::size_t size;
  };
  Found find(std::string_view piece, std::size_t position) const;

  std::array<TokenId, 256> byte_tokens_;
  std::vector<TokenId> tokens_;  // by code point; ByteTokens::none for those that do not qualify
};

}  // namespace mslt
