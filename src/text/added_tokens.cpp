// A trie walk from every byte that an added token can start with.
#include "text/added_tokens.h"

#include <algorithm>

#include "text/character_set.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt {
namespace {

bool is_word(char32_t code_point) {
  static const CharacterSet word = CharacterSet::named("rust word");
  return word.contains(code_point);
}

bool is_space(char32_t code_point) {
  return (unicode::class_of(code_point) & (unicode::space | unicode::newline)) != 0;
}

// The start of the white space that ends at `end`; not below `least`.
std::size_t start_of_space(std::string_view text, std::size_t end, std::size_t least) {
  while (end > least) {
    if (!is_space(character_before(text, end))) break;
    end = start_of_character_before(text, end);
  }
  return std::max(end, least);
}

std::size_t end_of_space(std::string_view text, std::size_t start) {
  while (start < text.size()) {
    const Utf8Result character = decode_utf8(text, start);
    if (!is_space(character.code_point)) break;
    start += character.length;
  }
  return start;
}

}  // namespace

std::uint32_t AddedTokenMatcher::child(std::uint32_t node, unsigned char byte) const {
  std::uint32_t index = nodes_[node].first_child;
  while (index != 0 && nodes_[index].byte != byte) index = nodes_[index].next_sibling;
  return index;
}

void AddedTokenMatcher::insert(std::string_view text, const AddedToken& token) {
  if (first_bytes_.find(text.front()) == std::string::npos) first_bytes_.push_back(text.front());
  std::uint32_t node = 0;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    std::uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<std::uint32_t>(nodes_.size());
      nodes_.push_back({.next_sibling = nodes_[node].first_child, .byte = byte});
      nodes_[node].first_child = next;
    }
    node = next;
  }
  tokens_.push_back(token);
  nodes_[node].token = static_cast<std::uint32_t>(tokens_.size());
  has_single_word_ = has_single_word_ || token.single_word;
  has_lstrip_ = has_lstrip_ || token.lstrip;
}

AddedTokenMatcher::Found AddedTokenMatcher::find(std::string_view text, std::size_t from) const {
  while (!empty()) {
    // memchr is the common case: in most vocabularies, special tokens share their first byte.
    const std::size_t begin =
        first_bytes_.size() == 1 ? text.find(first_bytes_.front(), from) : text.find_first_of(first_bytes_, from);
    if (begin == std::string_view::npos) break;
    Found found{.begin = begin, .end = begin};
    std::uint32_t node = 0;
    std::size_t at = begin;
    for (; at < text.size(); ++at) {
      node = child(node, static_cast<unsigned char>(text[at]));
      if (node == 0) break;
      if (nodes_[node].token != 0) {
        found.end = at + 1;
        found.token = nodes_[node].token;
      }
    }
    found.may_grow = at == text.size() && nodes_[node].first_child != 0;
    if (found.token != 0 || found.may_grow) return found;
    from = begin + 1;
  }
  return {.begin = text.size(), .end = text.size()};
}

bool AddedTokenMatcher::is_apart(std::string_view text, const Found& found) const {
  const bool after_word = found.begin > 0 && is_word(character_before(text, found.begin));
  const bool before_word = found.end < text.size() && is_word(decode_utf8(text, found.end).code_point);
  return !after_word && !before_word;
}

void AddedTokenMatcher::for_each(std::string_view text, SpecialTokens special,
                                 const std::function<void(const Match&)>& found) const {
  std::size_t last_end = 0;
  for (std::size_t from = 0; from < text.size();) {
    const Found next = find(text, from);
    if (next.token == 0) {
      // At most the start of a token.
      from = next.begin + 1;
      continue;
    }
    from = next.end;
    const AddedToken& token = tokens_[next.token - 1];
    if (token.special && special == SpecialTokens::as_text) continue;
    if (token.single_word && !is_apart(text, next)) continue;
    Match match{.begin = std::max(next.begin, last_end), .end = next.end, .id = token.id};
    if (token.lstrip) match.begin = start_of_space(text, next.begin, last_end);
    if (token.rstrip) match.end = end_of_space(text, next.end);
    match.end = std::max(match.end, match.begin);
    last_end = match.end;
    found(match);
  }
}

AddedTokenMatcher::Certain AddedTokenMatcher::certain(std::string_view text, SpecialTokens special) const {
  Certain result;
  result.limit = text.size();
  for (std::size_t from = 0; from < text.size();) {
    const Found next = find(text, from);
    if (next.may_grow) {
      result.limit = next.begin;
      break;
    }
    if (next.token == 0) break;
    from = next.end;
    const AddedToken& token = tokens_[next.token - 1];
    if (token.special && special == SpecialTokens::as_text) {
      result.passed_over.push_back({next.begin, next.end});
      continue;
    }
    // The characters that decide about these must be in the text, with room for the longest character.
    constexpr std::size_t longest_character = 4;
    if (token.single_word && next.end + longest_character > text.size()) {
      result.limit = next.begin;
      break;
    }
    if (token.single_word && !is_apart(text, next)) {
      result.passed_over.push_back({next.begin, next.end});
      continue;
    }
    const std::size_t end = token.rstrip ? end_of_space(text, next.end) : next.end;
    if (token.rstrip && end + longest_character > text.size()) {
      result.limit = next.begin;
      break;
    }
    result.last_end = end;
    result.passed_over.clear();
  }
  if (has_lstrip_) result.limit = start_of_space(text, result.limit, result.last_end);
  result.limit = std::max(result.limit, result.last_end);
  result.ends_with_word = result.last_end > 0 && is_word(character_before(text, result.last_end));
  return result;
}

}  // namespace mslt
