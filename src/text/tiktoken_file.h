// Reading .tiktoken files: one line per token, with its bytes in base64 and its rank.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/tables.h"

namespace mslt {

// Whether a text starts like a .tiktoken file (and not like JSON or binary data).
bool looks_like_tiktoken(std::string_view text);

// The parts of the tokenizer described by a .tiktoken file of n tokens. Ids are the ranks, each once; some may be
// missing, as in p50k_base. The special tokens are those of cl100k_base if n is 100256, of o200k_base if n is 199998,
// of GPT-2 or p50k_base if n is 50256 or 50280, else none; plus `special`, which replaces a known one with the same id.
// Throws Error(input) naming `source` and the line or the byte without a token, Error(usage) if the id of a token in
// `special` is taken.
TokenizerParts parts_from_tiktoken(std::string_view text, SplitPattern pattern, std::string_view source,
                                   std::span<const SpecialToken> special = {});

// The merge rules equivalent to merging by rank, as in tiktoken: a pair of neighbours merges if their joined bytes are
// a token, the lowest rank first. If each token of two or more bytes can be reached that way from lower ranks, it can
// be reached from only one pair, which is its one rule. Otherwise all pairs that make a token are rules of equal rank.
// `tokens`: bytes by id, the id being the rank; empty strings are skipped.
std::vector<MergeRule> merges_from_ranks(std::span<const std::string> tokens);

}  // namespace mslt
