// Tokenizers as vocab.json and merges.txt, the predecessor of tokenizer.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace mslt {

// The tokenizer of a folder: its tokenizer.json, else its vocab.json if there is a merges.txt too; nothing if it has
// neither. A GGUF file is its own, if one is inside. Throws as path_exists and GgufFile do.
std::optional<std::filesystem::path> tokenizer_file_in(const std::filesystem::path& folder);

// The file that a path names as a tokenizer: the path itself, or the tokenizer of a folder. Throws Error(input) saying
// what a folder without one lacks.
std::filesystem::path tokenizer_file(const std::filesystem::path& path);

// Whether the file is a vocab.json or a merges.txt.
bool is_vocabulary_file(const std::filesystem::path& path);

// The tokenizer.json equivalent to the folder's vocab.json and merges.txt. tokenizer_config.json determines the kind:
// GPT-2's (also CodeGen's), the default without the file or a class in it, or Qwen2's. The special tokens are those of
// special_tokens_map.json, added_tokens.json and tokenizer_config.json's added_tokens_decoder, or <|endoftext|> if none
// of the three exists. Throws Error(input) naming the missing or invalid file or the unsupported class, Error(io).
std::string json_from_vocabulary_files(const std::filesystem::path& folder);

}  // namespace mslt
