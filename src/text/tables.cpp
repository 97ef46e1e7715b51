// Checking a tokenizer's parts and building its tables.
#include "text/tables.h"

#include <unordered_map>
#include <utility>

#include "base/fail.h"
#include "text/byte_characters.h"
#include "text/normalize.h"

namespace mslt {
namespace {

constexpr TokenId unused = ~TokenId{0};

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

Tokenizer::Tables::Tables(TokenizerParts given, const std::array<TokenId, 256>& bytes)
    : parts(std::move(given)),
      byte_tokens(bytes),
      next_pretoken(mslt::next_pretoken(parts.pattern)),
      is_special(parts.tokens.size(), false),
      encoder(byte_tokens, parts.merges, parts.tokens, whole_tokens(parts)) {
  for (const AddedToken& token : parts.added) {
    const bool late = token.normalized && parts.normalize_nfc;
    const std::string text = late ? normalize_nfc(token.text) : token.text;
    (late ? normalized_all : raw_all).insert(text, token.id);
    if (token.special) {
      special.push_back({.text = token.text, .id = token.id});
      is_special[token.id] = true;
    } else {
      (late ? normalized_added : raw_added).insert(text, token.id);
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
  byte_tokens.fill(unused);
  for (TokenId id = 0; id < tokens.size(); ++id) {
    if (tokens[id].size() == 1 && !is_added[id]) byte_tokens[static_cast<unsigned char>(tokens[id].front())] = id;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (byte_tokens[byte] == unused) {
      fail(ErrorKind::input,
           "{}: the vocabulary has no token for byte 0x{:02X} (\"{}\"), so not all text can be encoded; a byte-level "
           "vocabulary has all 256.",
           source, byte, to_byte_characters(std::string(1, static_cast<char>(byte))));
    }
  }
  for (const MergeRule& rule : parts.merges) {
    for (const TokenId id : {rule.left, rule.right, rule.result}) {
      if (id >= tokens.size() || tokens[id].empty() || is_added[id]) {
        fail(ErrorKind::input, "{}: the merge of rank {} names the id {}, which is no ordinary token.", source,
             rule.rank, id);
      }
    }
  }
  return std::make_shared<const Tokenizer::Tables>(std::move(parts), byte_tokens);
}

}  // namespace mslt
