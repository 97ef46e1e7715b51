// Tokens that are found in text as they stand, before it is cut into pre-tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt {

struct AddedToken {
  std::string text;
  TokenId id = 0;
  bool special = true;      // not produced from plain text
  bool normalized = false;  // looked for in normalised text, itself normalised
  bool operator==(const AddedToken&) const = default;
};

// Finds the leftmost of a set of strings in a text, and of those that start there the longest. Immutable; safe to share
// between threads.
class AddedTokenMatcher {
 public:
  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
    TokenId id = 0;
  };

  bool empty() const { return nodes_.size() == 1; }
  // `text` must not be empty.
  void insert(std::string_view text, TokenId id);
  // The first match at or after `from`; begin == end == text.size() where there is none. O(text × longest string).
  Match find(std::string_view text, std::size_t from) const;

 private:
  // A trie whose children are a linked list.
  struct Node {
    std::uint32_t first_child = 0;
    std::uint32_t next_sibling = 0;
    unsigned char byte = 0;
    bool is_end = false;
    TokenId id = 0;
  };

  std::uint32_t child(std::uint32_t node, unsigned char byte) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::string first_bytes_;  // distinct
};

}  // namespace mslt
