// The symbols of text in vocabularies whose tokens are made of characters, as SentencePiece's are.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/merge_table.h"
#include "text/split.h"

namespace mslt {

// U+2581, which stands for a space in such vocabularies.
inline constexpr std::string_view space_mark = "\xE2\x96\x81";

// Immutable; safe to share between threads.
class CharacterVocabulary {
 public:
  // `ids` lists the tokens that text can become. `bytes` holds those of single bytes, which replace a character
  // without a token if all its bytes have one; else the unknown token does, or it is dropped.
  CharacterVocabulary(const ByteTokens& bytes, std::span<const std::string> tokens, std::span<const TokenId> ids);

  // Appends the symbols that merging `piece` starts from, as the tokenizers package makes them. Each part of it that is
  // no valid UTF-8 is a character without a token.
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const;

  // Whether no rule joins a space mark with another character before it, nor are such characters dropped, so that text
  // may be cut between the two without another result.
  bool parts_words(std::span<const MergeRule> rules, std::span<const std::string> tokens) const;

 private:
  TokenId token_of(char32_t code_point) const {
    return code_point < by_code_point_.size() ? by_code_point_[code_point] : ByteTokens::none;
  }

  ByteTokens bytes_;
  std::vector<TokenId> by_code_point_;
};

// Pieces of text that are merged apart from each other where parts_words(): they start at space marks after other
// characters.
std::size_t next_words(std::string_view text, std::size_t begin, PretokenEnds& ends);

}  // namespace mslt
