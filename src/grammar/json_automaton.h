// What a compiled JSON schema consists of.
#pragma once

#include <array>
#include <cstdint>

#include "grammar/byte_grammar.h"
#include "grammar/json_constraint.h"

namespace mslt {

struct JsonGrammar::Automaton {
  explicit Automaton(ByteGrammar finished);

  ByteGrammar grammar;
  // Bytes that no edge tells apart have the same class.
  std::array<std::uint8_t, 256> class_of{};
  std::uint32_t classes = 0;
};

}  // namespace mslt
