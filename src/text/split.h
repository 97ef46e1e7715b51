// Splitting text into pre-tokens: hand-written equivalents of the regular expressions of well-known model families.
//
//   gpt2    '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//   llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
//           \s+(?!\S)|\s+
//   qwen2   llama3 with \p{N} in place of \p{N}{1,3}
//   o200k   [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
//           [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
//           \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//   none    the whole text
//
// llama3 is also cl100k_base as first published. (tiktoken's current expression takes white space at the end of a text
// as one pre-token; the expression above, used in the models' tokenizer.json files, splits it after its last line
// feed.) \s is the property White_Space; (?i:'s) also matches U+017F. The Unicode version is that of unicode_tables.h.
// A byte outside valid UTF-8 is a symbol by itself: no letter, number, mark or white space.
//
// All functions here are safe to call from several threads.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "mslt/tokenizer.h"

namespace mslt {

// Finds the pre-tokens that follow each other from `begin` on, which must be below text.size() and be 0 or the end of
// another pre-token: writes their ends, at least one, and returns how many. Splitting a whole text takes time linear in
// its length for any content.
using PretokenEnds = std::array<std::size_t, 64>;
using NextPretokens = std::size_t (*)(std::string_view text, std::size_t begin, PretokenEnds& ends);

NextPretokens next_pretokens(SplitPattern pattern);

// Calls visit(begin, end) for each pre-token of a text in order.
template <class Visit>
void for_each_pretoken(std::string_view text, NextPretokens next, const Visit& visit) {
  PretokenEnds ends;
  for (std::size_t begin = 0; begin < text.size();) {
    for (const std::size_t end : std::span(ends).first(next(text, begin, ends))) {
      visit(begin, end);
      begin = end;
    }
  }
}

// The largest position below text.size() where text may be cut so that, for each pattern except `none`, the pre-tokens
// of both sides are those of the whole, whatever is appended; 0 if none is found. To split text that arrives in pieces,
// keep the part after the cut for the next piece.
std::size_t safe_cut(std::string_view text);

}  // namespace mslt
