// The tokens that begin, end and pad texts, as the files beside a tokenizer.json name them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/generation_config.h"
#include "mslt/tokenizer.h"

namespace mslt {

// The largest of the small JSON files of a model folder that is read.
inline constexpr std::uint64_t max_config_bytes = std::uint64_t{1} << 24;

// The id whose bytes are `text`: a special token's, else any token's. Nothing where there is none.
std::optional<TokenId> find_token(const Tokenizer& tokenizer, std::string_view text);
// The same; throws Error(usage) naming `option` and some special tokens where there is none.
TokenId require_token(const Tokenizer& tokenizer, std::string_view text, std::string_view option);

// What tokenizer_config.json of `folder` names as bos_token, pad_token and eos_token, then special_tokens_map.json,
// then the tokenizer by the customary spellings (Tokenizer::eos_id). A name may be a text or an object with "content".
// Throws nothing for files that cannot be read or names that are no tokens: a sentence is added to `notes`.
ModelTokenIds named_token_ids(const std::filesystem::path& folder, const Tokenizer& tokenizer,
                              std::vector<std::string>& notes);

// The folder whose files speak of a tokenizer that Tokenizer::load takes by this path: that itself, or where it lies.
std::filesystem::path tokenizer_folder(const std::filesystem::path& tokenizer);

// The token that ends a text by the files beside `path`, one as above: as named_token_ids, where that finds none by
// config.json, then generation_config.json, then as Tokenizer::eos_id says. Nothing where none of them names one.
std::optional<TokenId> eos_beside(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                  std::vector<std::string>& notes);

// What stands before each text: the tokenizer's text_prefix; where that is none and tokenizer_config.json of `folder`
// says "add_bos_token": true, the BOS that the folder names. Throws nothing for files that cannot be read.
std::vector<TokenId> text_prefix_beside(const std::filesystem::path& folder, const Tokenizer& tokenizer);

// Takes from `other` what `tokens` lacks.
void fill_token_ids(ModelTokenIds& tokens, const ModelTokenIds& other);

}  // namespace mslt
