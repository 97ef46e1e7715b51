// JSON numbers between bounds as bytes of a grammar.
#pragma once

#include <cstdint>
#include <optional>

#include "grammar/byte_grammar.h"

namespace mslt {

inline constexpr std::int64_t max_json_integer = 999'999'999'999'999'999;

struct NumberBounds {
  std::optional<std::int64_t> least = {};  // within +-max_json_integer, as `most`
  std::optional<std::int64_t> most = {};
  bool least_excluded = false;
  bool most_excluded = false;
};

// Integers of up to 18 digits.
void add_integer(ByteGrammar& grammar, NodeId from, const NumberBounds& bounds, NodeId to);

// Numbers; those between bounds without an exponent.
void add_number(ByteGrammar& grammar, NodeId from, const NumberBounds& bounds, NodeId to);

}  // namespace mslt
