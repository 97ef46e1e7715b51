// JsonMembers: typed members of an untrusted JSON object, with errors that name file, member and value.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// A view of one object; `object` must outlive it. A null member counts as absent. Every reader throws Error(input) if
// the member has another type or its value is out of range; those without a fallback also throw if it is absent.
class JsonMembers {
 public:
  // Throws Error(input) if `object` is not an object. `prefix` is the path to it in the file, such as
  // "rope_parameters.".
  JsonMembers(const nlohmann::json& object, std::string_view source, std::string_view prefix = "");

  bool has(std::string_view name) const;
  bool is_number(std::string_view name) const;
  // Whether it is present and null.
  bool is_null(std::string_view name) const;
  // A count or a size: 1 to 2^31 - 1.
  std::int64_t size(std::string_view name) const;
  std::int64_t size(std::string_view name, std::int64_t fallback) const;
  // Any finite number.
  double number(std::string_view name) const;
  double number(std::string_view name, double fallback) const;
  bool boolean(std::string_view name) const;
  bool boolean(std::string_view name, bool fallback) const;
  std::string text(std::string_view name) const;
  std::string text(std::string_view name, std::string_view fallback) const;
  // A list of finite numbers.
  std::vector<double> numbers(std::string_view name) const;
  // One token id, or a list of them; empty if absent or negative (older files write that for "none"). Throws nothing:
  // drops values that are no token ids and adds a sentence to `notes`.
  std::vector<std::uint32_t> token_ids(std::string_view name, std::vector<std::string>& notes) const;
  // The object at `name`; nothing if absent.
  std::optional<JsonMembers> object(std::string_view name) const;

  // Throws Error(input): "FILE: the member 'NAME' is VALUE; EXPECTED."
  [[noreturn]] void reject(std::string_view name, std::string_view expected) const;
  // The same text as a note: "FILE: the member 'NAME' is VALUE; EXPECTED. It is ignored."
  std::string ignored(std::string_view name, std::string_view expected) const;
  const std::string& source() const { return source_; }

 private:
  const nlohmann::json* find(std::string_view name) const;
  const nlohmann::json& require(std::string_view name) const;
  std::string complaint(std::string_view name, std::string_view expected) const;

  const nlohmann::json* object_;
  std::string source_;
  std::string prefix_;
};

}  // namespace mslt
