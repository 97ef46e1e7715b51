// JsonValue: one JSON value as a member of a struct whose header then does not need the JSON library.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

namespace mslt {

// A value type; null unless set. After it was moved from, it may only be assigned to or destroyed.
class JsonValue {
 public:
  JsonValue();
  // Implicit in both directions: it stands for the value that it holds.
  JsonValue(nlohmann::json value);
  JsonValue(const JsonValue& other);
  JsonValue(JsonValue&& other) noexcept;
  JsonValue& operator=(const JsonValue& other);
  JsonValue& operator=(JsonValue&& other) noexcept;
  ~JsonValue();

  const nlohmann::json& get() const { return *value_; }
  operator const nlohmann::json&() const { return *value_; }

 private:
  std::unique_ptr<nlohmann::json> value_;
};

}  // namespace mslt
