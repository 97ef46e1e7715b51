// Tokens as messages name them.
#pragma once

#include <string>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt {

// "'<|x|>' (id 310)"; bytes that are no text as \xNN, an id without a token as "the id 310".
std::string token_label(const Tokenizer& tokenizer, TokenId id);

// The labels of the tokens from `first` on, at most `most` of them, then how many more: "'a' (id 7), 'b' (id 8) and 3
// more". Empty where there are none.
std::string token_labels_from(const Tokenizer& tokenizer, TokenId first, std::size_t most = 4);

// The ids below vocab_size() that have no token.
std::vector<TokenId> ids_without_token(const Tokenizer& tokenizer);

}  // namespace mslt
