// Reading and writing generation_config.json.
#include "formats/generation_config.h"

#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/json.h"

namespace mslt {
namespace {

std::optional<std::uint32_t> one_token_id(const JsonMembers& json, std::string_view name) {
  const auto ids = json.token_ids(name);
  if (ids.size() > 1) json.reject(name, "valid is one token id");
  if (ids.empty()) return std::nullopt;
  return ids.front();
}

std::optional<double> number_within(const JsonMembers& json, std::string_view name, double low, double high) {
  if (!json.has(name)) return std::nullopt;
  const double value = json.number(name);
  if (value < low || value > high) json.reject(name, fmt::format("valid is {} to {}", low, high));
  return value;
}

template <class T>
void set_optional(nlohmann::ordered_json& json, const char* name, const std::optional<T>& value) {
  if (value) json[name] = *value;
}

}  // namespace

ModelTokenIds parse_token_ids(const JsonMembers& json) {
  return {one_token_id(json, "bos_token_id"), one_token_id(json, "pad_token_id"), json.token_ids("eos_token_id")};
}

void format_token_ids(nlohmann::ordered_json& json, const ModelTokenIds& tokens) {
  json["bos_token_id"] = nullptr;
  json["eos_token_id"] = nullptr;
  json["pad_token_id"] = nullptr;
  set_optional(json, "bos_token_id", tokens.bos);
  set_optional(json, "pad_token_id", tokens.pad);
  if (tokens.eos.size() == 1) json["eos_token_id"] = tokens.eos.front();
  if (tokens.eos.size() > 1) json["eos_token_id"] = tokens.eos;
}

GenerationSettings parse_generation_config(std::string_view text, std::string_view source) {
  const nlohmann::json object = parse_json(text, source);
  const JsonMembers json(object, source);
  constexpr double large = 1e9;
  GenerationSettings settings;
  settings.tokens = parse_token_ids(json);
  if (json.has("do_sample")) settings.do_sample = json.boolean("do_sample");
  settings.temperature = number_within(json, "temperature", 0.0, large);
  settings.top_p = number_within(json, "top_p", 0.0, 1.0);
  settings.min_p = number_within(json, "min_p", 0.0, 1.0);
  settings.repetition_penalty = number_within(json, "repetition_penalty", 0.0, large);
  // 0 stands for "no limit" there.
  if (const auto top_k = number_within(json, "top_k", 0.0, large)) settings.top_k = static_cast<std::int64_t>(*top_k);
  if (json.has("max_new_tokens")) settings.max_new_tokens = json.size("max_new_tokens");
  return settings;
}

std::string format_generation_config(const GenerationSettings& settings) {
  nlohmann::ordered_json json;
  format_token_ids(json, settings.tokens);
  set_optional(json, "do_sample", settings.do_sample);
  set_optional(json, "temperature", settings.temperature);
  set_optional(json, "top_k", settings.top_k);
  set_optional(json, "top_p", settings.top_p);
  set_optional(json, "min_p", settings.min_p);
  set_optional(json, "repetition_penalty", settings.repetition_penalty);
  set_optional(json, "max_new_tokens", settings.max_new_tokens);
  return json.dump(2) + "\n";
}

}  // namespace mslt
