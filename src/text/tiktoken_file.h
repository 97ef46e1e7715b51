// Reading .tiktoken files: a token in base64 and its rank a line.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/tables.h"

namespace mslt {

// Whether a text starts like a .tiktoken file (and not like JSON, nor like anything binary).
bool looks_like_tiktoken(std::string_view text);

// The parts of the tokenizer that a .tiktoken file of n tokens describes. Ids are the ranks, each once; some may be
// left out, as in p50k_base. The special tokens are those of cl100k_base where n is 100256, of o200k_base where it is
// 199998, of GPT-2 or p50k_base where it is 50256 or 50280, else none, and `special`, which goes before a known one of
// the same id. Throws Error(input) naming `source` and the line or the byte without a token, Error(usage) where the id
// of a token in `special` is taken.
TokenizerParts parts_from_tiktoken(std::string_view text, SplitPattern pattern, std::string_view source,
                                   std::span<const SpecialToken> special = {});

// The merge rules that equal merging by rank, as tiktoken does: a pair of neighbours merges where their bytes together
// are a token, the lowest rank first. Where each token of two or more bytes can be reached that way from lower ranks,
// it can be reached from one pair alone, and that pair is its one rule; otherwise all pairs that make a token are rules
// of equal rank. `tokens`: bytes by id, the id being the rank; empty strings are passed over.
std::vector<MergeRule> merges_from_ranks(std::span<const std::string> tokens);

}  // namespace mslt
