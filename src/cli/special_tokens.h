// Special tokens as NAME=ID on the command line.
#pragma once

#include <string>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt::cli {

// Each text is a token, an equals sign and an id; the token may contain equals signs. Throws Error(usage) naming an
// invalid text.
std::vector<SpecialToken> parse_special_tokens(const std::vector<std::string>& texts);

}  // namespace mslt::cli
