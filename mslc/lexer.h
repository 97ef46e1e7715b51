// Cutting MSL source text into tokens.
#pragma once

#include <string_view>
#include <vector>

#include "mslc/diagnostics.h"
#include "mslc/token.h"

namespace mslt::mslc {

// The tokens of `text` with their places; comments are left out. `text` and `file` must outlive them. No end token is
// added. Characters that cannot start a token, and comments or literals that do not end, are reported.
std::vector<Token> lex(std::string_view text, std::string_view file, Diagnostics& diagnostics);

}  // namespace mslt::mslc
