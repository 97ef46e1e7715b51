// generation_config.json: special tokens and customary sampling settings of a model.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json_members.h"

namespace mslt {

// The special tokens of a model, as config.json and generation_config.json carry them.
struct ModelTokenIds {
  std::optional<std::uint32_t> bos;
  std::optional<std::uint32_t> pad;
  std::vector<std::uint32_t> eos;  // any of them ends a text
  bool operator==(const ModelTokenIds&) const = default;
};

// What a model's makers recommend; absent where they say nothing.
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

// Reads bos_token_id, pad_token_id and eos_token_id (one or a list); throws Error(input) naming the member that is no
// token id.
ModelTokenIds parse_token_ids(const JsonMembers& json);
// Sets the same members; null for those absent.
void format_token_ids(nlohmann::ordered_json& json, const ModelTokenIds& tokens);

// Reads one generation_config.json; `source` names it in errors. Throws Error(input) naming the member whose type or
// range is wrong; members not known are ignored.
GenerationSettings parse_generation_config(std::string_view text, std::string_view source);
// The text of the file; ends with a newline.
std::string format_generation_config(const GenerationSettings& settings);

}  // namespace mslt
