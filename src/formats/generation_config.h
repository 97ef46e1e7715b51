// generation_config.json: special tokens and recommended sampling settings of a model.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json_members.h"

namespace mslt {

// The special tokens of a model, as in config.json and generation_config.json.
struct ModelTokenIds {
  std::optional<std::uint32_t> bos;
  std::optional<std::uint32_t> pad;
  std::vector<std::uint32_t> eos;  // each of them ends a text
  bool operator==(const ModelTokenIds&) const = default;
};

// The recommendations of a model's makers; absent if they give none.
struct GenerationSettings {
  ModelTokenIds tokens;
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<std::int64_t> max_new_tokens;
  bool operator==(const GenerationSettings&) const = default;
};

// Reads bos_token_id, pad_token_id and eos_token_id (one or a list). Throws nothing: drops values that are no token ids
// and adds a sentence naming the member to `notes`.
ModelTokenIds parse_token_ids(const JsonMembers& json, std::vector<std::string>& notes);
// Sets the same members; null for absent ones.
void format_token_ids(nlohmann::ordered_json& json, const ModelTokenIds& tokens);

// Reads a generation_config.json; `source` names it. Recommended settings must not keep a model from loading: a member
// with a wrong type or range is dropped, with a sentence in `notes`; unknown members are ignored. Throws Error(input)
// if the text is not a JSON object.
GenerationSettings parse_generation_config(std::string_view text, std::string_view source,
                                           std::vector<std::string>& notes);
// The text of the file: `others`, an object, with the members of `settings` set; ends with a newline.
std::string format_generation_config(const GenerationSettings& settings, const nlohmann::ordered_json& others);
// The same without others.
std::string format_generation_config(const GenerationSettings& settings);

}  // namespace mslt
