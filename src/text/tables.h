// The contents of a tokenizer: the parts supplied by a file or training, and the tables built from them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe_encode.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace mslt {

// Plain values; make_tables checks them.
struct TokenizerParts {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<TokenId> unknown;   // replaces bytes without a token; without it they are dropped
  bool fuse_unknown = false;        // one `unknown` for several such bytes in a row
  bool whole_tokens_first = false;  // a pre-token that is itself a token is taken without merging
  // JSON of tokenizer.json's members, kept to be written back; may be empty.
  std::string normalizer_json;
  std::string pre_tokenizer_json;
  std::string post_processor;
  std::vector<TokenId> text_prefix;  // ids that the post-processor puts before a text
  std::vector<std::string> tokens;   // bytes by id; empty for unused ids
  std::vector<MergeRule> merges;     // by rising rank
  std::vector<AddedToken> added;     // by id; their texts are also in `tokens`
};

// The tokens that merges may name: the ordinary ones, then added tokens with an ordinary spelling.
std::vector<TokenId> mergeable_tokens(const TokenizerParts& parts, std::vector<TokenId> ordinary);

// Immutable; shared by the copies of a Tokenizer.
struct Tokenizer::Tables {
  Tables(TokenizerParts given, const std::array<TokenId, 256>& byte_tokens);
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  TokenizerParts parts;
  std::array<TokenId, 256> byte_tokens;
  NextPretokens next_pretokens;  // if one pattern splits the text; else null
  std::vector<SpecialToken> special;
  std::vector<bool> is_special;  // by id
  AddedTokenMatcher raw_added;   // found before normalisation
  AddedTokenMatcher late_added;  // found in normalised text
  BpeEncoder encoder;
};

// Checks what all sources of parts must satisfy: merges name ordinary tokens, added tokens are distinct. Throws
// Error(input) naming `source` and the entry.
std::shared_ptr<const Tokenizer::Tables> make_tables(TokenizerParts parts, std::string_view source);

// The largest vocabulary: a bound on the memory that a file can request.
inline constexpr std::uint32_t max_vocab_size = 1u << 24;

}  // namespace mslt
