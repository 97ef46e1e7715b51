// Reading the JSON of a request: bounded parsing, and members of known types with errors that name them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt::serve {

using Json = nlohmann::ordered_json;

// An object of JSON with its members in order. Throws ApiError(400) for a syntax error, another type, more than 64
// levels, and an object with more than 1,024 members.
Json parse_body(std::string_view text);

// `value` as JSON text on one line, with U+FFFD for what is not UTF-8.
std::string dump(const Json& value);

// The members of one object. A member that is null counts as absent. All throw ApiError(400) with the member's name if
// it has another type or is out of range.
class Members {
 public:
  // `path` begins the names in errors: "stream_options.".
  explicit Members(const Json& object, std::string path = {}) : object_(object), path_(std::move(path)) {}

  // Null if absent.
  const Json* find(const char* name) const;
  std::optional<bool> boolean(const char* name) const;
  std::optional<std::int64_t> integer(const char* name, std::int64_t least, std::int64_t most) const;
  std::optional<double> number(const char* name, double least, double most) const;
  std::optional<std::string> text(const char* name) const;
  // Null if absent.
  const Json* object(const char* name) const;
  const Json* array(const char* name) const;
  std::string name_of(const char* name) const { return path_ + name; }

 private:
  const Json& object_;
  std::string path_;
};

// The ids of an array; `member` names it in errors. Each is at least 0 and below `vocab_size`.
std::vector<TokenId> token_ids(const Json& array, std::string_view member, std::int64_t vocab_size);

}  // namespace mslt::serve
