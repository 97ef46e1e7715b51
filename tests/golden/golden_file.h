// Reading the golden files of make_golden.py.
#pragma once

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace mslt::test {

// The tensors and the metadata of one safetensors file that the project made itself: eight bytes with the header's
// length, the header in JSON, the data.
class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path) : file_(path) {
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, file_.bytes().data(), sizeof(header_bytes));
    const auto* text = reinterpret_cast<const char*>(file_.bytes().data()) + sizeof(header_bytes);
    header_ = nlohmann::json::parse(text, text + header_bytes);
    data_ = file_.bytes().subspan(sizeof(header_bytes) + header_bytes);
  }

  nlohmann::json metadata(const std::string& name) const {
    return nlohmann::json::parse(header_.at("__metadata__").at("golden").get<std::string>()).at(name);
  }

  template <class T>
  std::vector<T> read(const std::string& name) const {
    const nlohmann::json& entry = header_.at(name);
    const std::string expected = std::is_same_v<T, float> ? "F32" : "I64";
    if (entry.at("dtype") != expected) throw std::runtime_error(name + " is not " + expected);
    const auto offsets = entry.at("data_offsets").get<std::vector<std::size_t>>();
    std::vector<T> values((offsets.at(1) - offsets.at(0)) / sizeof(T));
    std::memcpy(values.data(), data_.subspan(offsets.at(0), offsets.at(1) - offsets.at(0)).data(),
                values.size() * sizeof(T));
    return values;
  }

  std::vector<std::int64_t> shape(const std::string& name) const {
    return header_.at(name).at("shape").get<std::vector<std::int64_t>>();
  }

 private:
  MappedFile file_;
  nlohmann::json header_;
  std::span<const std::byte> data_;
};

}  // namespace mslt::test
