// Characters become their tokens, else those of their bytes, else the unknown one.
#include "text/character_vocabulary.h"

#include <algorithm>

#include "text/utf8.h"

namespace mslt {

CharacterVocabulary::CharacterVocabulary(const ByteTokens& bytes, std::span<const std::string> tokens,
                                         std::span<const TokenId> ids)
    : bytes_(bytes) {
  for (const TokenId id : ids) {
    const std::string& token = tokens[id];
    if (token.empty()) continue;
    const Utf8Result character = decode_utf8(token, 0);
    if (character.status != Utf8Status::valid || character.length != token.size()) continue;
    if (character.code_point >= by_code_point_.size()) {
      by_code_point_.resize(character.code_point + 1, ByteTokens::none);
    }
    by_code_point_[character.code_point] = id;
  }
}

void CharacterVocabulary::append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const {
  const auto byte_token = [&](char byte) {
    return bytes_.byte_tokens[static_cast<unsigned char>(byte)];
  };
  // The unknown token is appended before the next known character, even if bytes of others lie between.
  bool unknown = false;
  const auto append_unknown = [&] {
    if (unknown) symbols.push_back(*bytes_.unknown);
    unknown = false;
  };
  for (std::size_t at = 0; at < piece.size();) {
    const Utf8Result character = decode_utf8(piece, at);
    const std::string_view own = piece.substr(at, character.length);
    at += character.length;
    const TokenId token = character.status == Utf8Status::valid ? token_of(character.code_point) : ByteTokens::none;
    if (token != ByteTokens::none) {
      append_unknown();
      symbols.push_back(token);
    } else if (std::ranges::all_of(own, [&](char byte) { return byte_token(byte) != ByteTokens::none; })) {
      std::ranges::transform(own, std::back_inserter(symbols), byte_token);
    } else if (bytes_.unknown) {
      if (!bytes_.fuse_unknown) append_unknown();
      unknown = true;
    }
  }
  append_unknown();
}

bool CharacterVocabulary::parts_words(std::span<const MergeRule> rules, std::span<const std::string> tokens) const {
  const bool drops =
      !bytes_.unknown && std::ranges::find(bytes_.byte_tokens, ByteTokens::none) != bytes_.byte_tokens.end();
  if (drops || token_of(decode_utf8(space_mark, 0).code_point) == ByteTokens::none) return false;
  return std::ranges::none_of(rules, [&](const MergeRule& rule) {
    return tokens[rule.right].starts_with(space_mark) && !tokens[rule.left].ends_with(space_mark);
  });
}

std::size_t next_words(std::string_view text, std::size_t begin, PretokenEnds& ends) {
  std::size_t count = 0;
  while (count < ends.size() && begin < text.size()) {
    std::size_t end = begin;
    while (text.substr(end).starts_with(space_mark)) end += space_mark.size();
    end = std::min(text.find(space_mark, end), text.size());
    ends[count++] = end;
    begin = end;
  }
  return count;
}

}  // namespace mslt
