// Finds the characters that no rule can join with their surroundings before they are whole.
#include "text/character_tokens.h"

#include <algorithm>
#include <bit>

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
  const std::size_t start = start_of_character_before(token, token.size());
  return key_of(decode_utf8(token, start));
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

void CharacterTokens::add_joints(std::span<const MergeRule> rules, std::span<const std::string> tokens) {
  // So many bits that few other pairs share one: a shared bit only makes a part longer.
  const std::size_t bits = std::clamp<std::size_t>(std::bit_ceil(8 * rules.size()), 1 << 12, 1 << 22);
  joints_ = BitFilter<std::uint32_t>(bits);
  for (const MergeRule& rule : rules) {
    if (tokens[rule.left].empty() || tokens[rule.right].empty()) continue;
    const std::uint32_t left = last_key_of(tokens[rule.left]);
    const std::uint32_t right = key_of(decode_utf8(tokens[rule.right], 0));
    if (left == 0 || right == 0) continue;
    joints_.add(joint_of(left, right));
  }
}

std::size_t CharacterTokens::next_block(std::string_view piece, std::size_t begin, Block& block,
                                        const MergeTable& table) const {
  const auto byte_at = [&](std::size_t position) {
    return static_cast<unsigned char>(piece[position]);
  };
  const auto ends_at = [&](std::size_t end) {
    return end == piece.size() || !continues_character(piece[end]);
  };
  std::uint32_t previous = begin == 0 ? 0 : block.previous_;
  std::uint64_t starts = begin == 0 ? 1 : 0;
  std::size_t count = 0;
  std::size_t at = begin;
  for (; count < Block::size && at < piece.size(); ++count) {
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
    const bool is_apart = previous != 0 && character != 0 && !joints_.may_hold(joint_of(previous, character));
    starts |= std::uint64_t{is_apart} << count;
    block.symbols[count] = symbol;
    previous = character;
    at += length;
  }
  // Merging will look up the others.
  for (std::uint64_t joined = ~starts & (~std::uint64_t{1} << 0) & (~std::uint64_t{0} >> (64 - count)); joined != 0;
       joined &= joined - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(joined));
    table.prefetch(block.symbols[i - 1], block.symbols[i]);
  }
  block.count = count;
  block.starts = starts;
  block.previous_ = previous;
  return at;
}

void CharacterTokens::append_symbols(std::string_view piece, std::vector<TokenId>& symbols,
                                     const MergeTable& table) const {
  Block block;
  for (std::size_t begin = 0; begin < piece.size();) {
    begin = next_block(piece, begin, block, table);
    symbols.insert(symbols.end(), block.symbols.begin(), block.symbols.begin() + block.count);
  }
}

}  // namespace mslt
