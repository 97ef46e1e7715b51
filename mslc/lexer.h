// Splitting MSL source text into tokens.
#pragma once

#include <string_view>
#include <vector>

#include "mslc/diagnostics.h"
#include "mslc/token.h"

namespace mslt::mslc {

// The tokens of `text` with their positions, without comments. `text` and `file` must outlive them. Adds no end token.
// Reports characters that cannot start a token, and unterminated comments or literals.
std::vector<Token> lex(std::string_view text, std::string_view file, Diagnostics& diagnostics);

}  // namespace mslt::mslc
