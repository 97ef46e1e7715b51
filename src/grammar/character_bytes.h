// Characters of a JSON string as bytes of a grammar.
#pragma once

#include "grammar/byte_grammar.h"
#include "text/character_set.h"

namespace mslt {

// One character of `set`, from `from` to `to`: in UTF-8, or escaped if JSON demands it. Surrogates are left out.
void add_string_character(ByteGrammar& grammar, NodeId from, const CharacterSet& set, NodeId to);

// One character of any string, in all of its spellings. A pair of escaped surrogates is one; one alone is none.
void add_any_string_character(ByteGrammar& grammar, NodeId from, NodeId to);

}  // namespace mslt
