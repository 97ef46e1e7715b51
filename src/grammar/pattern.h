// Regular expressions of JSON schemas, in ECMA-262's syntax as far as automata have it.
#pragma once

#include <string>
#include <string_view>

#include "text/expression_tree.h"

namespace mslt {

// The tree of a pattern, of the kinds nothing, set, sequence, choice, repeat and assertion (begin_text and end_text).
// Supported: characters, escapes, sets, `.`, groups, |, ^, $, quantifiers. \d, \w and \s are ECMA's; repeats count at
// most 1,000. Throws Error(input) naming `where` and what is not supported: look-around, back-references, \b, \p.
ExpressionNode parse_pattern(std::string_view pattern, const std::string& where);

}  // namespace mslt
