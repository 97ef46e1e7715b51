// A trie walk from every byte that an added token can start with.
#include "text/added_tokens.h"

#include <cstring>

namespace mslt {

std::uint32_t AddedTokenMatcher::child(std::uint32_t node, unsigned char byte) const {
  std::uint32_t index = nodes_[node].first_child;
  while (index != 0 && nodes_[index].byte != byte) index = nodes_[index].next_sibling;
  return index;
}

void AddedTokenMatcher::insert(std::string_view text, TokenId id) {
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
  nodes_[node].is_end = true;
  nodes_[node].id = id;
}

AddedTokenMatcher::Match AddedTokenMatcher::find(std::string_view text, std::size_t from) const {
  if (empty()) return {.begin = text.size(), .end = text.size()};
  while (true) {
    // memchr is the common case: most vocabularies' special tokens share their first byte.
    const std::size_t begin =
        first_bytes_.size() == 1 ? text.find(first_bytes_.front(), from) : text.find_first_of(first_bytes_, from);
    if (begin == std::string_view::npos) return {.begin = text.size(), .end = text.size()};
    Match match{.begin = begin, .end = begin};
    std::uint32_t node = 0;
    for (std::size_t at = begin; at < text.size(); ++at) {
      node = child(node, static_cast<unsigned char>(text[at]));
      if (node == 0) break;
      if (nodes_[node].is_end) {
        match.end = at + 1;
        match.id = nodes_[node].id;
      }
    }
    if (match.end != begin) return match;
    from = begin + 1;
  }
}

}  // namespace mslt
