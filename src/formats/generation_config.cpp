// Reading and writing generation_config.json.
#include "formats/generation_config.h"

#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/json.h"

namespace mslt {
namespace {

using Notes = std::vector<std::string>;

std::optional<std::uint32_t> one_token_id(const JsonMembers& json, std::string_view name, Notes& notes) {
  const auto ids = json.token_ids(name, notes);
  if (ids.size() > 1) notes.push_back(json.ignored(name, "valid is one token id"));
  if (ids.size() != 1) return std::nullopt;
  return ids.front();
}

// Calls `read`; an Error(input) for an unusable member becomes a note.
template <class T, class Read>
std::optional<T> read_or_ignore(const JsonMembers& json, std::string_view name, Notes& notes, const Read& read) {
  if (!json.has(name)) return std::nullopt;
  try {
    return read();
  } catch (const Error& error) {
    notes.push_back(std::string(error.what()) + " It is ignored.");
    return std::nullopt;
  }
}

std::optional<double> number_within(const JsonMembers& json, std::string_view name, double low, double high,
                                    Notes& notes) {
  return read_or_ignore<double>(json, name, notes, [&] {
    const double value = json.number(name);
    if (value < low || value > high) json.reject(name, fmt::format("valid is {} to {}", low, high));
    return value;
  });
}

// Python accepts 0 and 1 as truth values, and so do the programs that write them.
std::optional<bool> truth_value(const JsonMembers& json, std::string_view name, Notes& notes) {
  return read_or_ignore<bool>(json, name, notes, [&] {
    if (!json.is_number(name)) return json.boolean(name);
    const double value = json.number(name);
    if (value != 0.0 && value != 1.0) json.reject(name, "valid are true and false");
    notes.push_back(fmt::format("{}: the member '{}' is the number {}; it is read as {}.", json.source(), name, value,
                                value != 0.0));
    return value != 0.0;
  });
}

template <class T>
void set_optional(nlohmann::ordered_json& json, const char* name, const std::optional<T>& value) {
  if (value) json[name] = *value;
}

}  // namespace

ModelTokenIds parse_token_ids(const JsonMembers& json, Notes& notes) {
  return {one_token_id(json, "bos_token_id", notes), one_token_id(json, "pad_token_id", notes),
          json.token_ids("eos_token_id", notes)};
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

GenerationSettings parse_generation_config(std::string_view text, std::string_view source, Notes& notes) {
  const nlohmann::json object = parse_json(text, source);
  const JsonMembers json(object, source);
  constexpr double large = 1e9;
  GenerationSettings settings;
  settings.tokens = parse_token_ids(json, notes);
  settings.do_sample = truth_value(json, "do_sample", notes);
  settings.temperature = number_within(json, "temperature", 0.0, large, notes);
  settings.top_p = number_within(json, "top_p", 0.0, 1.0, notes);
  settings.min_p = number_within(json, "min_p", 0.0, 1.0, notes);
  settings.repetition_penalty = number_within(json, "repetition_penalty", 0.0, large, notes);
  // 0 means "no limit" there.
  if (const auto top_k = number_within(json, "top_k", 0.0, large, notes)) {
    settings.top_k = static_cast<std::int64_t>(*top_k);
  }
  settings.max_new_tokens =
      read_or_ignore<std::int64_t>(json, "max_new_tokens", notes, [&] { return json.size("max_new_tokens"); });
  return settings;
}

std::string format_generation_config(const GenerationSettings& settings, const nlohmann::ordered_json& others) {
  nlohmann::ordered_json json = others;
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

std::string format_generation_config(const GenerationSettings& settings) {
  return format_generation_config(settings, nlohmann::ordered_json::object());
}

}  // namespace mslt
