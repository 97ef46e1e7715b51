// JsonValue: one JSON value as a struct member, without including the JSON library in the header.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

namespace mslt {

// A value type; null unless set. A moved-from value may only be assigned to or destroyed.
class JsonValue {
 public:
  JsonValue();
  // Implicit in both directions.
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
