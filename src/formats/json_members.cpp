// Checked access to JSON members.
#include "formats/json_members.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/fail.h"

namespace mslt {

JsonMembers::JsonMembers(const nlohmann::json& object, std::string_view source, std::string_view prefix)
    : object_(&object), source_(source), prefix_(prefix) {
  if (object.is_object()) return;
  if (prefix_.empty()) fail(ErrorKind::input, "{} does not hold a JSON object.", source_);
  fail(ErrorKind::input, "{}: the member '{}' is not an object.", source_, prefix_.substr(0, prefix_.size() - 1));
}

const nlohmann::json* JsonMembers::find(std::string_view name) const {
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

const nlohmann::json& JsonMembers::require(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) fail(ErrorKind::input, "{}: the member '{}{}' is missing.", source_, prefix_, name);
  return *value;
}

std::string JsonMembers::complaint(std::string_view name, std::string_view expected) const {
  const nlohmann::json* value = find(name);
  constexpr std::size_t longest = 80;
  std::string text = value == nullptr ? "null" : value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > longest) text = "a long value";
  return fmt::format("{}: the member '{}{}' is {}; {}.", source_, prefix_, name, text, expected);
}

void JsonMembers::reject(std::string_view name, std::string_view expected) const {
  fail(ErrorKind::input, "{}", complaint(name, expected));
}

std::string JsonMembers::ignored(std::string_view name, std::string_view expected) const {
  return complaint(name, expected) + " It is ignored.";
}

bool JsonMembers::has(std::string_view name) const {
  return find(name) != nullptr;
}

bool JsonMembers::is_number(std::string_view name) const {
  const nlohmann::json* value = find(name);
  return value != nullptr && value->is_number();
}

bool JsonMembers::is_null(std::string_view name) const {
  const auto found = object_->find(name);
  return found != object_->end() && found->is_null();
}

std::int64_t JsonMembers::size(std::string_view name) const {
  constexpr std::uint64_t largest = std::numeric_limits<std::int32_t>::max();
  const nlohmann::json& value = require(name);
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 || value.get<std::uint64_t>() > largest) {
    reject(name, fmt::format("valid is a whole number from 1 to {}", largest));
  }
  return value.get<std::int64_t>();
}

std::int64_t JsonMembers::size(std::string_view name, std::int64_t fallback) const {
  return has(name) ? size(name) : fallback;
}

double JsonMembers::number(std::string_view name) const {
  const nlohmann::json& value = require(name);
  if (!value.is_number() || !std::isfinite(value.get<double>())) reject(name, "valid is a number");
  return value.get<double>();
}

double JsonMembers::number(std::string_view name, double fallback) const {
  return has(name) ? number(name) : fallback;
}

bool JsonMembers::boolean(std::string_view name) const {
  const nlohmann::json& value = require(name);
  if (!value.is_boolean()) reject(name, "valid are true and false");
  return value.get<bool>();
}

bool JsonMembers::boolean(std::string_view name, bool fallback) const {
  return has(name) ? boolean(name) : fallback;
}

std::string JsonMembers::text(std::string_view name) const {
  const nlohmann::json& value = require(name);
  if (!value.is_string()) reject(name, "valid is a text");
  return value.get<std::string>();
}

std::string JsonMembers::text(std::string_view name, std::string_view fallback) const {
  return has(name) ? text(name) : std::string(fallback);
}

std::vector<double> JsonMembers::numbers(std::string_view name) const {
  const nlohmann::json& list = require(name);
  constexpr std::string_view expected = "valid is a list of numbers";
  if (!list.is_array()) reject(name, expected);
  std::vector<double> result;
  for (const nlohmann::json& value : list) {
    if (!value.is_number() || !std::isfinite(value.get<double>())) reject(name, expected);
    result.push_back(value.get<double>());
  }
  return result;
}

std::vector<std::uint32_t> JsonMembers::token_ids(std::string_view name, std::vector<std::string>& notes) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return {};
  if (value->is_number_integer() && !value->is_number_unsigned()) return {};
  const auto is_id = [](const nlohmann::json& id) {
    return id.is_number_unsigned() && id.get<std::uint64_t>() <= std::numeric_limits<std::int32_t>::max();
  };
  std::vector<std::uint32_t> ids;
  bool all = true;
  const auto take = [&](const nlohmann::json& id) {
    if (is_id(id)) {
      ids.push_back(id.get<std::uint32_t>());
    } else {
      all = false;
    }
  };
  if (value->is_array()) {
    for (const nlohmann::json& id : *value) take(id);
  } else {
    take(*value);
  }
  if (!all) {
    constexpr std::string_view expected = "valid is a token id or a list of them";
    notes.push_back(ids.empty() ? ignored(name, expected)
                                : complaint(name, expected) + " Values that are no token ids are ignored.");
  }
  return ids;
}

std::optional<JsonMembers> JsonMembers::object(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::nullopt;
  return JsonMembers(*value, source_, prefix_ + std::string(name) + ".");
}

}  // namespace mslt
