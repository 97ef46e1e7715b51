// Tokenizers as vocab.json and merges.txt, the form from before tokenizer.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace mslt {

// The tokenizer of a folder: its tokenizer.json or else its vocab.json where there is a merges.txt beside it; nothing
// where it has neither. Throws as path_exists does.
std::optional<std::filesystem::path> tokenizer_file_in(const std::filesystem::path& folder);

// The file that a path names as a tokenizer: the path itself, or that of a folder. Throws Error(input) saying what a
// folder without one lacks.
std::filesystem::path tokenizer_file(const std::filesystem::path& path);

// Whether the file is a vocab.json or a merges.txt.
bool is_vocabulary_file(const std::filesystem::path& path);

// The tokenizer.json that the folder's vocab.json and merges.txt stand for. tokenizer_config.json says which kind it
// is: GPT-2's, which also CodeGen has, where there is none or it names no class, or Qwen2's. The special tokens are
// those of special_tokens_map.json, added_tokens.json and tokenizer_config.json's added_tokens_decoder, or
// <|endoftext|> where there is none of the three. Throws Error(input) naming the file that is missing or not valid or
// the class that is not supported, Error(io).
std::string json_from_vocabulary_files(const std::filesystem::path& folder);

}  // namespace mslt
