// Checking a tokenizer's parts and building its tables.
#include "text/tables.h"

#include <unordered_map>
#include <utility>

#include "base/fail.h"
#include "text/byte_characters.h"

namespace mslt {
namespace {

std::vector<TokenId> whole_tokens(const TokenizerParts& parts) {
  std::vector<TokenId> ids;
  if (!parts.whole_tokens_first) return ids;
  std::vector<bool> added(parts.tokens.size(), false);
  for (const AddedToken& token : parts.added) added[token.id] = true;
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty() && !added[id]) ids.push_back(id);
  }
  return ids;
}

}  // namespace

std::vector<TokenId> mergeable_tokens(const TokenizerParts& parts, std::vector<TokenId> ordinary) {
  for (const AddedToken& token : parts.added) {
    if (is_its_own_spelling(token.text)) ordinary.push_back(token.id);
  }
  return ordinary;
}

Tokenizer::Tables::Tables(TokenizerParts given, const std::array<TokenId, 256>& bytes)
    : parts(std::move(given)),
      byte_tokens(bytes),
      next_pretokens(parts.pre_tokenizer.single_pattern() ? mslt::next_pretokens(*parts.pre_tokenizer.single_pattern())
                                                          : nullptr),
      is_special(parts.tokens.size(), false),
      encoder({.byte_tokens = byte_tokens, .unknown = parts.unknown, .fuse_unknown = parts.fuse_unknown}, parts.merges,
              parts.tokens, whole_tokens(parts)) {
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

  std::array<TokenId, 256> byte_tokens{};
  byte_tokens.fill(ByteTokens::none);
  for (TokenId id = 0; id < tokens.size(); ++id) {
    if (tokens[id].size() == 1 && !is_added[id]) byte_tokens[static_cast<unsigned char>(tokens[id].front())] = id;
  }
  // A byte's own letter may also be an added token, such as ! used as padding.
  for (const AddedToken& token : parts.added) {
    const auto byte = static_cast<unsigned char>(token.text.front());
    const bool is_letter = token.text.size() == 1 && is_its_own_spelling(token.text);
    if (is_letter && byte_tokens[byte] == ByteTokens::none) byte_tokens[byte] = token.id;
  }
  if (parts.unknown && (*parts.unknown >= tokens.size() || tokens[*parts.unknown].empty())) {
    fail(ErrorKind::input, "{}: the unknown token has the id {}, which no token has.", source, *parts.unknown);
  }
  for (const MergeRule& rule : parts.merges) {
    for (const TokenId id : {rule.left, rule.right, rule.result}) {
      // An added token may also be an ordinary one.
      const bool is_ordinary =
          id < tokens.size() && !tokens[id].empty() && (!is_added[id] || is_its_own_spelling(tokens[id]));
      if (!is_ordinary) {
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
