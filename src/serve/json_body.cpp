// Bounded parsing of request bodies.
#include "serve/json_body.h"

#include <fmt/format.h>

#include <cmath>

#include "serve/api_error.h"

namespace mslt::serve {
namespace {

constexpr int max_depth = 64;
// Ordered objects are searched from their start, so a large one would take quadratic time.
constexpr std::size_t max_members = 1024;

}  // namespace

Json parse_body(std::string_view text) {
  std::vector<std::size_t> members;  // of each open object
  const auto check = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > max_depth) throw ApiError(400, fmt::format("The body nests deeper than {} levels.", max_depth));
    if (event == Json::parse_event_t::object_start) members.push_back(0);
    if (event == Json::parse_event_t::object_end && !members.empty()) members.pop_back();
    if (event == Json::parse_event_t::key && ++members.back() > max_members) {
      throw ApiError(400, fmt::format("An object of the body has more than {} members.", max_members));
    }
    return true;
  };
  Json body;
  try {
    body = Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    throw ApiError(400, fmt::format("The body is not valid JSON: it fails to parse at byte {}.", error.byte));
  } catch (const Json::out_of_range&) {
    throw ApiError(400, "The body holds a number that is too large.");
  }
  if (!body.is_object()) throw ApiError(400, "The body must be a JSON object.");
  return body;
}

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* Members::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> Members::boolean(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_boolean()) refuse_member(name_of(name), fmt::format("{} must be true or false.", name_of(name)));
  return value->get<bool>();
}

std::optional<std::int64_t> Members::integer(const char* name, std::int64_t least, std::int64_t most) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  // Clients written in languages without whole numbers send 16.0.
  const bool is_whole = value->is_number_integer() ||
                        (value->is_number_float() && std::floor(value->get<double>()) == value->get<double>() &&
                         std::abs(value->get<double>()) < 9e15);
  const bool is_large = value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(most);
  if (!is_whole || is_large || value->get<std::int64_t>() < least || value->get<std::int64_t>() > most) {
    refuse_member(name_of(name), fmt::format("{} must be a whole number from {} to {}.", name_of(name), least, most));
  }
  return value->get<std::int64_t>();
}

std::optional<double> Members::number(const char* name, double least, double most) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_number() || !(value->get<double>() >= least) || !(value->get<double>() <= most)) {
    refuse_member(name_of(name), fmt::format("{} must be a number from {} to {}.", name_of(name), least, most));
  }
  return value->get<double>();
}

std::optional<std::string> Members::text(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_string()) refuse_member(name_of(name), fmt::format("{} must be a string.", name_of(name)));
  return value->get<std::string>();
}

const Json* Members::object(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_object()) {
    refuse_member(name_of(name), fmt::format("{} must be an object.", name_of(name)));
  }
  return value;
}

const Json* Members::array(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_array()) {
    refuse_member(name_of(name), fmt::format("{} must be an array.", name_of(name)));
  }
  return value;
}

std::vector<TokenId> token_ids(const Json& array, std::string_view member, std::int64_t vocab_size) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const Json& id : array) {
    const bool is_valid = id.is_number_unsigned() && id.get<std::uint64_t>() < static_cast<std::uint64_t>(vocab_size);
    if (!is_valid) {
      refuse_member(member, fmt::format("{} must hold token ids from 0 to {}.", member, vocab_size - 1));
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

}  // namespace mslt::serve
