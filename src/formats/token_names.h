// The tokens for beginning, end and padding of texts, as named by the files next to a tokenizer.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/generation_config.h"
#include "mslt/tokenizer.h"

namespace mslt {

// The size limit of the small JSON files in a model folder.
inline constexpr std::uint64_t max_config_bytes = std::uint64_t{1} << 24;

// The id with the bytes `text`: a special token's, else any token's. Nothing if there is none.
std::optional<TokenId> find_token(const Tokenizer& tokenizer, std::string_view text);
// The same; throws Error(usage) naming `option` and some special tokens if there is none.
TokenId require_token(const Tokenizer& tokenizer, std::string_view text, std::string_view option);

// The tokenizer's by the usual spellings (Tokenizer::eos_id and so on).
ModelTokenIds customary_token_ids(const Tokenizer& tokenizer);

// The bos_token, pad_token and eos_token of tokenizer_config.json in `folder`, then of special_tokens_map.json, then
// customary_token_ids. A name may be a text or an object with "content". Throws
// nothing: unreadable files and names that are not tokens add a sentence to `notes`.
ModelTokenIds named_token_ids(const std::filesystem::path& folder, const Tokenizer& tokenizer,
                              std::vector<std::string>& notes);

// The folder with the files about a tokenizer, for a path that Tokenizer::load takes: the path itself, or its parent.
std::filesystem::path tokenizer_folder(const std::filesystem::path& tokenizer);

// The end-of-text token according to the files next to `path`, which is as above: named_token_ids, else config.json,
// else generation_config.json, else Tokenizer::eos_id; of a GGUF file, that file's own, else Tokenizer::eos_id. Nothing
// if none of them names one.
std::optional<TokenId> eos_beside(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                  std::vector<std::string>& notes);

// The ids before each text: the tokenizer's text_prefix; if that is empty and tokenizer_config.json of `folder` says
// "add_bos_token": true, the BOS that the folder names. Throws nothing for unreadable files.
std::vector<TokenId> text_prefix_beside(const std::filesystem::path& folder, const Tokenizer& tokenizer);

// Fills the gaps of `tokens` from `other`.
void fill_token_ids(ModelTokenIds& tokens, const ModelTokenIds& other);

}  // namespace mslt
