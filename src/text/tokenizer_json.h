// Hugging Face's tokenizer.json and tokenizer_config.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mslt/tokenizer.h"
#include "text/tables.h"

namespace mslt {

// The size limit of a tokenizer file: larger files are something else.
inline constexpr std::uint64_t max_tokenizer_file_bytes = std::uint64_t{1} << 28;
// The most memory for reading a tokenizer.json, with its tables, as a multiple of the file's size: about 130 bytes per
// token made by a merge, which takes 22 bytes of a file without white space.
inline constexpr std::uint64_t max_memory_multiple = 8;

// The parts of a byte-level BPE tokenizer.json. Throws Error(input) naming `source` and the member that is missing,
// invalid, unsupported or duplicated. Takes memory only for the parts themselves, a table of the vocabulary and short
// values, not for JSON of the long lists. Tokenizer::load takes at most max_memory_multiple times the file's size.
TokenizerParts parts_from_json(std::string_view text, std::string_view source);

// The tokenizer.json of these parts, with which the tokenizers package encodes and decodes the same.
std::string json_from_parts(const TokenizerParts& parts);

// A tokenizer_config.json that, with tokenizer.json, lets transformers' AutoTokenizer open a folder: the class, the
// tokens for beginning, end and padding if the tokenizer has them, and the model's context length.
std::string tokenizer_config_json(const Tokenizer& tokenizer, std::uint64_t model_max_length);

}  // namespace mslt
