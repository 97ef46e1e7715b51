// The tokens of a vocabulary as a trie of their bytes.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/json_constraint.h"

namespace mslt {

// Nodes other than the root, each before those below it, in the order of their bytes.
struct ConstraintVocabulary::Trie {
  struct Node {
    std::uint8_t byte = 0;
    std::uint32_t depth = 0;        // 0: below the root
    std::uint32_t end = 0;          // the first node that is not below this one
    std::uint32_t first_token = 0;  // of `tokens`, up to the next node's
  };
  std::vector<Node> nodes;              // and one more at the end
  std::vector<TokenId> tokens;          // by node
  std::vector<std::string_view> bytes;  // of each id; empty for those that no text has
  std::uint32_t max_depth = 0;
  Tokenizer tokenizer;  // holds the bytes
};

}  // namespace mslt
