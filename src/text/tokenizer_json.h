// Hugging Face's tokenizer.json and tokenizer_config.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mslt/tokenizer.h"
#include "text/tables.h"

namespace mslt {

// The largest tokenizer file that is read: larger ones are something else.
inline constexpr std::uint64_t max_tokenizer_file_bytes = std::uint64_t{1} << 28;

// The parts of a byte-level BPE tokenizer.json. Throws Error(input) naming `source` and the member that is missing, not
// valid or not supported.
TokenizerParts parts_from_json(std::string_view text, std::string_view source);

// The tokenizer.json of these parts, such that the tokenizers package encodes and decodes alike.
std::string json_from_parts(const TokenizerParts& parts);

// A tokenizer_config.json that, beside tokenizer.json, lets transformers' AutoTokenizer open a folder: the class, the
// tokens for beginning, end and padding where the tokenizer has them, and the model's context length.
std::string tokenizer_config_json(const Tokenizer& tokenizer, std::uint64_t model_max_length);

}  // namespace mslt
