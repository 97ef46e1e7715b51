// The syntax tree of a regular expression, and the parser that makes it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/character_set.h"

namespace mslt {

enum class Assertion : std::uint8_t {
  begin_line,
  end_line,
  begin_text,
  end_text,
  end_text_or_last_line,  // also before a line feed at the end of the text
  word_boundary,
  no_word_boundary,
};

struct ExpressionNode {
  enum class Kind : std::uint8_t {
    nothing,      // matches the empty text
    set,          // one character of `set`
    sequence,     // children one after another
    choice,       // the first child with which the whole matches
    repeat,       // children[0], least to most times
    atomic,       // children[0]; keeps its first way of matching
    look_ahead,   // children[0] matches here, or does not if `negative`
    look_behind,  // the previous character is (not) in `set`
    assertion,
  };
  enum class Greed : std::uint8_t { greedy, lazy, possessive };

  Kind kind = Kind::nothing;
  bool negative = false;
  Greed greed = Greed::greedy;
  Assertion assertion = Assertion::begin_line;
  std::uint32_t least = 0;
  std::uint32_t most = 0;
  CharacterSet set;
  std::vector<ExpressionNode> children;
};

inline constexpr std::uint32_t no_most = ~std::uint32_t{0};

// Parses the syntax that expression.h describes. Throws Error(input) naming the position and what is unsupported there.
ExpressionNode parse_expression(std::string_view pattern);

}  // namespace mslt
