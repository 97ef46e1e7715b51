// Finds the characters that no rule can join with their surroundings before they are whole.
#include "text/character_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace mslt {
namespace {

bool continues(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// The code point of a token that is one character of several bytes below U+10000; 0 if it is none.
std::size_t character_of(std::string_view token) {
  if (token.size() < 2 || token.size() > 3) return 0;
  const Utf8Result character = decode_utf8(token, 0);
  return character.status == Utf8Status::valid && character.length == token.size() ? character.code_point : 0;
}

}  // namespace

CharacterTokens::CharacterTokens(const ByteTokens& bytes, std::span<const MergeRule> rules, const MergeTable& table,
                                 std::span<const std::string> tokens)
    : byte_tokens_(bytes.byte_tokens) {
  // The lowest rank of a rule that joins a token with what precedes a character, or with what follows one.
  std::vector<std::uint32_t> with_previous(tokens.size(), MergeTable::no_rank);
  std::vector<std::uint32_t> with_next(tokens.size(), MergeTable::no_rank);
  for (const MergeRule& rule : rules) {
    with_previous[rule.right] = std::min(with_previous[rule.right], rule.rank);
    const std::string& right = tokens[rule.right];
    if (right.empty() || !continues(right.front())) {
      with_next[rule.left] = std::min(with_next[rule.left], rule.rank);
    }
  }
  for (const MergeRule& rule : rules) {
    const std::string& token = tokens[rule.result];
    const std::size_t character = character_of(token);
    if (character == 0) continue;
    std::vector<TokenId> symbols;
    for (const char byte : token) symbols.push_back(bytes.byte_tokens[static_cast<unsigned char>(byte)]);
    if (std::ranges::find(symbols, ByteTokens::none) != symbols.end()) continue;
    std::uint32_t highest = 0;
    std::uint32_t outside = MergeTable::no_rank;
    while (symbols.size() > 1) {
      outside = std::min({outside, with_previous[symbols.front()], with_next[symbols.back()]});
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < symbols.size(); ++i) {
        if (table.find(symbols[i], symbols[i + 1]).rank < table.find(symbols[best], symbols[best + 1]).rank) best = i;
      }
      const MergeTable::Entry& merge = table.find(symbols[best], symbols[best + 1]);
      highest = std::max(highest, merge.rank);
      if (merge.rank == MergeTable::no_rank) break;
      symbols[best] = merge.result;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    if (highest >= outside || symbols.front() != rule.result) continue;
    if (character >= tokens_.size()) tokens_.resize(character + 1, ByteTokens::none);
    tokens_[character] = rule.result;
  }
}

CharacterTokens::Found CharacterTokens::find(std::string_view piece, std::size_t position) const {
  const auto byte = [&](std::size_t i) {
    return std::size_t{static_cast<unsigned char>(piece[position + i])};
  };
  const std::size_t left = piece.size() - position;
  const std::size_t size = byte(0) < 0xE0 ? 2 : 3;
  if (byte(0) < 0xC2 || byte(0) >= 0xF0 || left < size || !continues(piece[position + 1]) ||
      !continues(piece[position + size - 1]) || (left > size && continues(piece[position + size]))) {
    return {.token = 0, .size = 0};
  }
  const std::size_t character = size == 2 ? (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F)
                                          : (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  // A longer form of a shorter character is none.
  const bool known = character < tokens_.size() && (size == 2 || character >= 0x800);
  const TokenId token = known ? tokens_[character] : ByteTokens::none;
  return {.token = token, .size = token == ByteTokens::none ? 0 : size};
}

void CharacterTokens::append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const {
  for (std::size_t i = 0; i < piece.size();) {
    const Found found = find(piece, i);
    symbols.push_back(found.size > 0 ? found.token : byte_tokens_[static_cast<unsigned char>(piece[i])]);
    i += std::max<std::size_t>(found.size, 1);
  }
}

}  // namespace mslt
