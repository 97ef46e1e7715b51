// Checking a tokenizer's parts and building its tables.
#include "text/tables.h"

#include <unordered_map>
#include <utility>

#include "base/fail.h"
#include "text/byte_characters.h"

namespace mslt {
namespace {

// The tokens that plain text can become.
std::vector<TokenId> ordinary_tokens(const TokenizerParts& parts) {
  std::vector<TokenId> ids;
  std::vector<bool> apart(parts.tokens.size(), false);
  for (const AddedToken& token : parts.added) apart[token.id] = !token.ordinary;
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty() && !apart[id]) ids.push_back(id);
  }
  return ids;
}

std::vector<TokenId> whole_tokens(const TokenizerParts& parts) {
  return parts.whole_tokens_first ? ordinary_tokens(parts) : std::vector<TokenId>();
}

ByteTokens byte_tokens_of(const TokenizerParts& parts, const std::array<TokenId, 256>& byte_tokens) {
  return {.byte_tokens = byte_tokens, .unknown = parts.unknown, .fuse_unknown = parts.fuse_unknown};
}

std::optional<CharacterVocabulary> vocabulary_of(const TokenizerParts& parts,
                                                 const std::array<TokenId, 256>& byte_tokens) {
  if (parts.byte_level) return std::nullopt;
  return CharacterVocabulary(byte_tokens_of(parts, byte_tokens), parts.tokens, ordinary_tokens(parts));
}

// By byte; those that have none are ByteTokens::none.
std::array<TokenId, 256> find_byte_tokens(const TokenizerParts& parts, const std::vector<bool>& is_added) {
  std::array<TokenId, 256> byte_tokens{};
  byte_tokens.fill(ByteTokens::none);
  if (!parts.byte_level) {
    if (!parts.byte_fallback) return byte_tokens;
    for (const TokenId id : ordinary_tokens(parts)) {
      const auto byte = byte_of_token(parts.tokens[id]);
      if (byte && token_of_byte(*byte) == parts.tokens[id]) byte_tokens[*byte] = id;
    }
    return byte_tokens;
  }
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    const std::string& token = parts.tokens[id];
    if (token.size() == 1 && !is_added[id]) byte_tokens[static_cast<unsigned char>(token.front())] = id;
  }
  // A byte's own letter may also be an added token, such as ! used as padding.
  for (const AddedToken& token : parts.added) {
    const auto byte = static_cast<unsigned char>(token.text.front());
    const bool is_letter = token.text.size() == 1 && is_its_own_spelling(token.text);
    if (is_letter && byte_tokens[byte] == ByteTokens::none) byte_tokens[byte] = token.id;
  }
  return byte_tokens;
}

}  // namespace

std::string spelling_of(const TokenizerParts& parts, TokenId id) {
  return parts.byte_level ? to_byte_characters(parts.tokens[id]) : parts.tokens[id];
}

bool is_mergeable(const TokenizerParts& parts, const AddedToken& token) {
  return parts.byte_level ? is_its_own_spelling(token.text) : token.ordinary;
}

std::vector<TokenId> mergeable_tokens(const TokenizerParts& parts, std::vector<TokenId> ordinary) {
  for (const AddedToken& token : parts.added) {
    if (is_mergeable(parts, token)) ordinary.push_back(token.id);
  }
  return ordinary;
}

Tokenizer::Tables::Tables(TokenizerParts given, const std::array<TokenId, 256>& bytes)
    : parts(std::move(given)),
      byte_tokens(bytes),
      next_pretokens(parts.byte_level && parts.pre_tokenizer.single_pattern()
                         ? mslt::next_pretokens(*parts.pre_tokenizer.single_pattern())
                         : nullptr),
      words(nullptr),
      is_special(parts.tokens.size(), false),
      encoder(byte_tokens_of(parts, byte_tokens), parts.merges, parts.tokens, whole_tokens(parts),
              vocabulary_of(parts, byte_tokens)) {
  if (encoder.parts_words()) words = next_words;
  if (!parts.byte_level) pieces.emplace(parts.decoder, parts.tokens);
  for (const AddedToken& token : parts.added) {
    const std::string text = token.normalized ? parts.normalizer.apply(token.text) : token.text;
    // A normalizer may leave nothing of a token, which is then never found.
    if (!text.empty()) (token.normalized ? late_added : raw_added).insert(text, token);
    if (token.special) {
      special.push_back({.text = token.text, .id = token.id});
      is_special[token.id] = true;
    }
  }
}

std::shared_ptr<const Tokenizer::Tables> make_tables(TokenizerParts parts, std::string_view source) {
  const auto& tokens = parts.tokens;
  std::vector<bool> is_added(tokens.size(), false);
  std::unordered_map<std::string_view, TokenId> by_text;
  for (const AddedToken& token : parts.added) {
    if (token.text.empty()) fail(ErrorKind::input, "{}: the added token with id {} has no text.", source, token.id);
    if (token.id >= tokens.size() || tokens[token.id] != token.text) {
      fail(ErrorKind::input, "{}: the added token \"{}\" has the id {}, which is another token's.", source, token.text,
           token.id);
    }
    if (!by_text.emplace(token.text, token.id).second || is_added[token.id]) {
      fail(ErrorKind::input, "{}: the added token \"{}\" (id {}) is listed twice.", source, token.text, token.id);
    }
    is_added[token.id] = true;
  }

  // Not among the mergeable ones.
  std::vector<bool> is_apart = is_added;
  for (const AddedToken& token : parts.added) is_apart[token.id] = !is_mergeable(parts, token);
  const std::array<TokenId, 256> byte_tokens = find_byte_tokens(parts, is_added);
  if (parts.unknown && (*parts.unknown >= tokens.size() || tokens[*parts.unknown].empty())) {
    fail(ErrorKind::input, "{}: the unknown token has the id {}, which no token has.", source, *parts.unknown);
  }
  for (const MergeRule& rule : parts.merges) {
    for (const TokenId id : {rule.left, rule.right, rule.result}) {
      // An added token may also be an ordinary one.
      if (id >= tokens.size() || tokens[id].empty() || is_apart[id]) {
        fail(ErrorKind::input, "{}: the merge of rank {} names the id {}, which is no ordinary token.", source,
             rule.rank, id);
      }
    }
    if (rule.left == parts.unknown || rule.right == parts.unknown) {
      fail(ErrorKind::input, "{}: the merge of rank {} merges the unknown token, which is not supported.", source,
           rule.rank);
    }
  }
  return std::make_shared<const Tokenizer::Tables>(std::move(parts), byte_tokens);
}

}  // namespace mslt
