// A value of a JSON document with its path, for errors.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/fail.h"

namespace mslt {

// A JSON value and its path, for errors. The value and the source's name must outlive it.
class JsonMember {
 public:
  JsonMember(const nlohmann::json& value, std::string path, std::string_view source)
      : value_(value), path_(std::move(path)), source_(source) {}

  const nlohmann::json& value() const { return value_; }

  [[noreturn]] void reject(std::string_view what) const {
    fail(ErrorKind::input, "{}: {} {}.", source_, path_.empty() ? "the top level" : path_, what);
  }

  bool has(const char* name) const { return value_.is_object() && value_.contains(name); }
  // These files treat missing and null members alike.
  bool is_set(const char* name) const { return has(name) && !value_.at(name).is_null(); }

  JsonMember at(const char* name) const {
    if (!value_.is_object()) reject("is not an object");
    if (!value_.contains(name)) reject(fmt::format("has no member \"{}\"", name));
    return {value_.at(name), path_.empty() ? name : path_ + "." + name, source_};
  }
  JsonMember at(std::size_t index) const { return {value_.at(index), fmt::format("{}[{}]", path_, index), source_}; }

  std::size_t array_size() const {
    if (!value_.is_array()) reject("is not an array");
    return value_.size();
  }
  const std::string& string() const {
    if (!value_.is_string()) reject("is not a string");
    return value_.get_ref<const std::string&>();
  }
  bool boolean(const char* name, bool otherwise) const {
    if (!is_set(name)) return otherwise;
    const JsonMember member = at(name);
    if (!member.value_.is_boolean()) member.reject("is neither true nor false");
    return member.value_.get<bool>();
  }
  std::uint64_t id() const {
    if (!value_.is_number_unsigned()) reject("is not an id (a whole number from 0 on)");
    return value_.get<std::uint64_t>();
  }
  // The member "type", present in all parts of the pipeline.
  const std::string& type() const { return at("type").string(); }

 private:
  const nlohmann::json& value_;
  std::string path_;
  std::string_view source_;
};

}  // namespace mslt
