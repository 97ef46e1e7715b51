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
#include "text/piece_decoder.h"
#include "text/pre_tokenizer.h"

namespace mslt {

// Plain values; make_tables checks them.
struct TokenizerParts {
  // Whether tokens are made of bytes, which files spell as characters. Otherwise they are made of characters, as
  // SentencePiece's are, and `tokens` holds their spelling, of which the decoder makes text.
  bool byte_level = true;
  bool byte_fallback = false;  // the bytes of a character without a token become tokens like <0x0A>
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<TokenId> unknown;   // replaces bytes without a token; without it they are dropped
  bool fuse_unknown = false;        // one `unknown` for several such bytes in a row
  bool whole_tokens_first = false;  // a pre-token that is itself a token is taken without merging
  // JSON of tokenizer.json's members, kept to be written back; may be empty.
  std::string normalizer_json;
  std::string pre_tokenizer_json;
  std::string decoder_json;
  std::string post_processor;
  DecoderSteps decoder;              // of tokens made of characters
  std::vector<TokenId> text_prefix;  // ids that the post-processor puts before a text
  std::vector<std::string> tokens;   // bytes by id; empty for unused ids
  std::vector<MergeRule> merges;     // by rising rank
  std::vector<AddedToken> added;     // by id; their texts are also in `tokens`
};

// What the file calls a token that is not an added one.
std::string spelling_of(const TokenizerParts& parts, TokenId id);

// Whether text and merges may make an added token, too: it has an ordinary spelling, or is in a vocabulary of
// characters.
bool is_mergeable(const TokenizerParts& parts, const AddedToken& token);

// The tokens that merges may name: the ordinary ones, then added tokens that are mergeable.
std::vector<TokenId> mergeable_tokens(const TokenizerParts& parts, std::vector<TokenId> ordinary);

// Immutable; shared by the copies of a Tokenizer.
struct Tokenizer::Tables {
  Tables(TokenizerParts given, const std::array<TokenId, 256>& byte_tokens);
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  TokenizerParts parts;
  std::array<TokenId, 256> byte_tokens;
  NextPretokens next_pretokens;  // if one pattern splits the text of a byte-level tokenizer; else null
  NextPretokens words;           // cuts pieces where the encoder parts words; else null
  std::vector<SpecialToken> special;
  std::vector<bool> is_special;  // by id
  AddedTokenMatcher raw_added;   // found before normalisation
  AddedTokenMatcher late_added;  // found in normalised text
  BpeEncoder encoder;
  std::optional<PieceDecoder> pieces;  // if tokens are made of characters
};

// Checks what all sources of parts must satisfy: merges name ordinary tokens, added tokens are distinct. Throws
// Error(input) naming `source` and the entry.
std::shared_ptr<const Tokenizer::Tables> make_tables(TokenizerParts parts, std::string_view source);

// The largest vocabulary: a bound on the memory that a file can request.
inline constexpr std::uint32_t max_vocab_size = 1u << 24;

}  // namespace mslt
