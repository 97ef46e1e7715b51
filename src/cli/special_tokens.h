// Special tokens as NAME=ID on the command line.
#pragma once

#include <string>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt::cli {

// Each text is a token's, an equals sign and an id; the token may hold equals signs itself. Throws Error(usage) naming
// the text that is not so.
std::vector<SpecialToken> parse_special_tokens(const std::vector<std::string>& texts);

}  // namespace mslt::cli
