// Writing GGUF files for tests.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/gguf.h"

namespace mslt {

// Appends keys and tensors; bytes() is the file. Little-endian machines only.
class TestGguf {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  // What the header says of the counts, if not the truth.
  std::optional<std::uint64_t> key_count;
  std::optional<std::uint64_t> tensor_count;

  template <class T>
  static std::string raw(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string raw_text(std::string_view text) { return raw(std::uint64_t{text.size()}) + std::string(text); }

  // A key with the bytes after its type.
  TestGguf& key(std::string_view name, GgufType type, std::string_view value) {
    keys_ += raw_text(name) + raw(static_cast<std::uint32_t>(type));
    keys_ += value;
    ++keys_written_;
    return *this;
  }
  TestGguf& number(std::string_view name, std::uint32_t value) { return key(name, GgufType::u32, raw(value)); }
  TestGguf& real(std::string_view name, float value) { return key(name, GgufType::f32, raw(value)); }
  TestGguf& boolean(std::string_view name, bool value) {
    return key(name, GgufType::boolean, value ? "\1" : std::string_view("\0", 1));
  }
  TestGguf& text(std::string_view name, std::string_view value) { return key(name, GgufType::text, raw_text(value)); }
  static std::string raw_array(GgufType element, std::uint64_t count, std::string_view elements) {
    return raw(static_cast<std::uint32_t>(element)) + raw(count) + std::string(elements);
  }
  TestGguf& texts(std::string_view name, const std::vector<std::string>& values) {
    std::string all;
    for (const std::string& value : values) all += raw_text(value);
    return key(name, GgufType::array, raw_array(GgufType::text, values.size(), all));
  }
  TestGguf& integers(std::string_view name, const std::vector<std::int32_t>& values) {
    std::string all;
    for (const std::int32_t value : values) all += raw(value);
    return key(name, GgufType::array, raw_array(GgufType::i32, values.size(), all));
  }
  TestGguf& reals(std::string_view name, const std::vector<float>& values) {
    std::string all;
    for (const float value : values) all += raw(value);
    return key(name, GgufType::array, raw_array(GgufType::f32, values.size(), all));
  }

  // A tensor, whose last dimension is contiguous. `offset` places it elsewhere than behind the others.
  TestGguf& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                   std::string_view data, std::optional<std::uint64_t> offset = std::nullopt) {
    tensors_ += raw_text(name) + raw(static_cast<std::uint32_t>(shape.size()));
    for (std::size_t i = shape.size(); i-- > 0;) tensors_ += raw(shape[i]);
    tensors_ += raw(type) + raw(offset.value_or(data_.size()));
    data_ += data;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    ++tensors_written_;
    return *this;
  }
  TestGguf& floats(std::string_view name, const std::vector<std::uint64_t>& shape, const std::vector<float>& values) {
    return tensor(name, shape, 0, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  std::string bytes() const {
    std::string file = "GGUF" + raw(version) + raw(tensor_count.value_or(tensors_written_)) +
                       raw(key_count.value_or(keys_written_)) + keys_ + tensors_;
    if (tensors_written_ == 0) return file;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

 private:
  std::string keys_;
  std::string tensors_;
  std::string data_;
  std::uint64_t keys_written_ = 0;
  std::uint64_t tensors_written_ = 0;
};

}  // namespace mslt
