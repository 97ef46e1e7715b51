// Strings that a regular expression matches, as bytes of a grammar.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "grammar/byte_grammar.h"
#include "text/expression_tree.h"

namespace mslt {

struct LengthBounds {
  std::uint32_t least = 0;  // in characters
  std::optional<std::uint32_t> most = {};
};

// The content of a JSON string, up to and with the closing quote, in which the expression of parse_pattern matches
// somewhere. The expression becomes a deterministic automaton first. Throws Error(input) naming `where` if that has
// more than 2,000 states.
void add_pattern(ByteGrammar& grammar, NodeId from, const ExpressionNode& tree, const LengthBounds& bounds, NodeId to,
                 const std::string& where);

}  // namespace mslt
