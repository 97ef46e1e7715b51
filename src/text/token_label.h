// Names of tokens for messages.
#pragma once

#include <string>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt {

// "'<|x|>' (id 310)"; bytes that are not text as \xNN, an id without a token as "the id 310".
std::string token_label(const Tokenizer& tokenizer, TokenId id);

// The labels of the tokens starting at `first`, at most `most` of them, then the number of further ones: "'a' (id 7),
// 'b' (id 8) and 3 more". Empty if there are none.
std::string token_labels_from(const Tokenizer& tokenizer, TokenId first, std::size_t most = 4);

// The ids below vocab_size() that have no token.
std::vector<TokenId> ids_without_token(const Tokenizer& tokenizer);

}  // namespace mslt
