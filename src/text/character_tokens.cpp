// Finds the characters that no rule can join with their surroundings before they are whole.
#include "text/character_tokens.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "text/utf8.h"

namespace mslt {
namespace {

constexpr std::size_t pair_limit = 0x800;      // first code point of more than two bytes
constexpr std::size_t longer_limit = 0x10000;  // and of more than three
constexpr unsigned first_lead = 0xC0;          // of two bytes; 32 of them

// The code point of a token that is one character of two or three bytes; 0 if it is none.
std::size_t character_of(std::string_view token) {
  if (token.size() < 2 || token.size() > 3) return 0;
  const Utf8Result character = decode_utf8(token, 0);
  return character.status == Utf8Status::valid && character.length == token.size() ? character.code_point : 0;
}

// The character's code point; 0 if it is not valid UTF-8 or has four bytes.
std::uint32_t key_of(const Utf8Result& character) {
  const bool usable = character.status == Utf8Status::valid && character.code_point < longer_limit;
  return usable ? static_cast<std::uint32_t>(character.code_point) : 0;
}

std::uint32_t last_key_of(std::string_view token) {
  if (token.empty()) return 0;
  const std::size_t start = start_of_character_before(token, token.size());
  return key_of(decode_utf8(token, start));
}

std::uint32_t first_key_of(std::string_view token) {
  return token.empty() ? 0 : key_of(decode_utf8(token, 0));
}

}  // namespace

// The lowest rank of a rule that joins a token with what precedes a character, or with what follows one.
struct CharacterTokens::Ranks {
  std::vector<std::uint32_t> with_previous;
  std::vector<std::uint32_t> with_next;

  std::uint32_t around(TokenId token) const { return std::min(with_previous[token], with_next[token]); }
};

CharacterTokens::CharacterTokens(const ByteTokens& bytes, std::span<const MergeRule> rules, const MergeTable& table,
                                 std::span<const std::string> tokens)
    : byte_tokens_(bytes.byte_tokens),
      pairs_(pair_limit),
      lead_ranks_(std::size_t{32} * 256, MergeTable::no_rank),
      tokens_(longer_limit, ByteTokens::none) {
  Ranks ranks;
  ranks.with_previous.assign(tokens.size(), MergeTable::no_rank);
  ranks.with_next.assign(tokens.size(), MergeTable::no_rank);
  std::vector<unsigned> lead_of(tokens.size(), 0);
  for (unsigned lead = first_lead; lead < first_lead + 32; ++lead) {
    if (byte_tokens_[lead] != ByteTokens::none) lead_of[byte_tokens_[lead]] = lead;
  }
  for (const MergeRule& rule : rules) {
    auto& with_previous = ranks.with_previous[rule.right];
    with_previous = std::min(with_previous, rule.rank);
    const std::string& left = tokens[rule.left];
    if (const unsigned lead = lead_of[rule.right]; lead != 0 && !left.empty()) {
      auto& rank = lead_ranks_[(lead - first_lead) * 256 + static_cast<unsigned char>(left.back())];
      rank = std::min(rank, rule.rank);
    }
    const std::string& right = tokens[rule.right];
    if (right.empty() || !continues_character(right.front())) {
      auto& with_next = ranks.with_next[rule.left];
      with_next = std::min(with_next, rule.rank);
    }
  }
  for (const MergeRule& rule : rules) {
    const std::string& token = tokens[rule.result];
    const std::size_t character = character_of(token);
    if (character == 0) continue;
    const bool has_tokens = std::ranges::all_of(
        token, [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)] != ByteTokens::none; });
    if (!has_tokens) continue;
    if (character < pair_limit) {
      add_pair(token, character, table, ranks);
    } else {
      add_longer(token, character, table, ranks);
    }
  }
  add_links(rules, tokens);
  add_joints(rules, tokens);
}

void CharacterTokens::add_pair(std::string_view bytes, std::size_t character, const MergeTable& table,
                               const Ranks& ranks) {
  const TokenId last = byte_tokens_[static_cast<unsigned char>(bytes[1])];
  const MergeTable::Merge merge = table.find(byte_tokens_[static_cast<unsigned char>(bytes[0])], last);
  if (merge.rank == MergeTable::no_rank) return;
  if (merge.rank < ranks.with_next[last] && merge.rank < ranks.around(merge.result))
    pairs_[character] = {.token = merge.result, .rank = merge.rank};
}

void CharacterTokens::add_longer(std::string_view bytes, std::size_t character, const MergeTable& table,
                                 const Ranks& ranks) {
  std::vector<TokenId> symbols;
  for (const char byte : bytes) symbols.push_back(byte_tokens_[static_cast<unsigned char>(byte)]);
  std::uint32_t highest = 0;
  while (symbols.size() > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < symbols.size(); ++i) {
      if (table.find(symbols[i], symbols[i + 1]).rank < table.find(symbols[best], symbols[best + 1]).rank) best = i;
    }
    const MergeTable::Merge merge = table.find(symbols[best], symbols[best + 1]);
    const std::uint32_t outside = std::min(ranks.with_previous[symbols.front()], ranks.with_next[symbols.back()]);
    if (merge.rank >= outside) return;
    highest = std::max(highest, merge.rank);
    symbols[best] = merge.result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  if (highest < ranks.around(symbols.front())) tokens_[character] = symbols.front();
}

TokenId CharacterTokens::token_of(std::uint32_t character) const {
  if (character < 0x80) return byte_tokens_[character];
  return character < pair_limit ? pairs_[character].token : tokens_[character];
}

void CharacterTokens::add_links(std::span<const MergeRule> rules, std::span<const std::string> tokens) {
  std::vector<CharacterLinks::Entry> entries;
  entries.reserve(rules.size());
  for (const MergeRule& rule : rules) {
    const std::uint32_t left = last_key_of(tokens[rule.left]);
    const std::uint32_t right = first_key_of(tokens[rule.right]);
    if (left == 0 || right == 0) continue;
    CharacterLinks::Link link = CharacterLinks::unknown;
    if (rule.rank == rule.result && rule.rank > 0 && rule.rank < CharacterLinks::rank_limit) {
      const bool is_of_two = rule.left == token_of(left) && rule.right == token_of(right);
      link = CharacterLinks::link_of(rule.rank, is_of_two);
    }
    entries.push_back({.pair = CharacterLinks::pair_of(left, right), .link = link});
  }
  // The lowest of each pair stays.
  std::ranges::sort(entries, {},
                    [](const CharacterLinks::Entry& entry) { return (std::uint64_t{entry.pair} << 32) | entry.link; });
  const auto repeated = std::ranges::unique(entries, {}, &CharacterLinks::Entry::pair);
  entries.erase(repeated.begin(), repeated.end());
  links_ = CharacterLinks(entries);
}

void CharacterTokens::add_joints(std::span<const MergeRule> rules, std::span<const std::string> tokens) {
  // So many bits that few other pairs share one.
  const std::size_t bits = std::clamp<std::size_t>(std::bit_ceil(8 * rules.size()), 1 << 12, 1 << 22);
  joints_ = BitFilter<std::uint64_t>(bits);
  std::vector<TokenId> lefts;   // the symbols that the left side may end with
  std::vector<TokenId> rights;  // and that the right side may start with
  const auto add_to = [&](std::vector<TokenId>& symbols, std::uint32_t character, std::uint32_t first,
                          std::uint32_t second) {
    symbols.assign(1, token_of(character));
    if (first == 0 || second == 0) return;
    const CharacterLinks::Link link = links_.find(first, second);
    if (CharacterLinks::is_of_two(link)) symbols.push_back(CharacterLinks::token_of(link));
  };
  for (const MergeRule& rule : rules) {
    const std::string_view left = tokens[rule.left];
    const std::string_view right = tokens[rule.right];
    const std::uint32_t last = last_key_of(left);
    const std::uint32_t first = first_key_of(right);
    if (last == 0 || first == 0) continue;
    add_to(lefts, last, last_key_of(left.substr(0, start_of_character_before(left, left.size()))), last);
    add_to(rights, first, first, first_key_of(right.substr(decode_utf8(right, 0).length)));
    for (const TokenId a : lefts) {
      for (const TokenId b : rights) joints_.add(joint_of(a, b));
    }
  }
}

void CharacterTokens::append(std::string_view piece, Place& place, Symbols& symbols) const {
  const auto byte_at = [&](std::size_t position) {
    return static_cast<unsigned char>(piece[position]);
  };
  const auto ends_at = [&](std::size_t end) {
    return end == piece.size() || !continues_character(piece[end]);
  };
  std::uint32_t previous = place.previous;
  std::size_t at = place.byte;
  std::size_t count = symbols.count;
  const std::size_t first = at == 0 ? count : Symbols::size;
  for (; count < Symbols::size && at < piece.size(); ++count) {
    // Most characters of three bytes, but for a piece's last, without the checks below.
    while (std::endian::native == std::endian::little && piece.size() - at >= 4 && count < Symbols::size) {
      std::uint32_t word = 0;
      std::memcpy(&word, piece.data() + at, sizeof(word));
      const bool is_whole = starts_three_bytes(word) && (word >> 30) != 2;
      if (!is_whole || previous == 0) break;
      const std::uint32_t code_point = code_point_of_three_bytes(word);
      const TokenId token = tokens_[code_point];
      if (token == ByteTokens::none) break;
      symbols.symbols[count] = token;
      symbols.links[count] = links_.find(previous, code_point);
      previous = code_point;
      at += 3;
      ++count;
    }
    if (count == Symbols::size) break;
    const unsigned lead = byte_at(at);
    const std::size_t left = piece.size() - at;
    TokenId symbol = byte_tokens_[lead];
    std::uint32_t character = 0;
    std::size_t length = 1;
    if (lead < 0x80) {
      character = lead;
    } else if ((lead & 0xF0) == 0xE0 && left >= 3 && continues_character(piece[at + 1]) &&
               continues_character(piece[at + 2]) && ends_at(at + 3)) {
      const std::uint32_t code_point =
          ((lead & 0xF) << 12) | ((byte_at(at + 1) & 0x3Fu) << 6) | (byte_at(at + 2) & 0x3Fu);
      if (const TokenId token = tokens_[code_point]; token != ByteTokens::none) {
        symbol = token;
        character = code_point;
        length = 3;
      }
    } else if ((lead & 0xE0) == 0xC0 && left >= 2 && continues_character(piece[at + 1]) && ends_at(at + 2)) {
      const std::uint32_t code_point = ((lead & 0x1F) << 6) | (byte_at(at + 1) & 0x3Fu);
      const Pair pair = pairs_[code_point];
      if (pair.token != ByteTokens::none &&
          (at == 0 || pair.rank < lead_ranks_[(lead - first_lead) * 256 + byte_at(at - 1)])) {
        symbol = pair.token;
        character = code_point;
        length = 2;
      }
    }
    symbols.symbols[count] = symbol;
    symbols.links[count] = previous != 0 && character != 0 ? links_.find(previous, character) : CharacterLinks::unknown;
    previous = character;
    at += length;
  }
  if (first < count) symbols.links[first] = CharacterLinks::none;
  symbols.count = count;
  place = {.byte = at, .previous = previous};
}

void CharacterTokens::append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const {
  Symbols some;
  for (Place place; place.byte < piece.size();) {
    some.count = 0;
    append(piece, place, some);
    symbols.insert(symbols.end(), some.symbols.begin(), some.symbols.begin() + some.count);
  }
}

}  // namespace mslt
