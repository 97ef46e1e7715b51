// Reading the golden files of make_golden.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/json_value.h"
#include "base/mapped_file.h"

namespace mslt::test {

// The tensors and metadata of a safetensors file made by this project: eight bytes with the header's length, the header
// in JSON, the data.
class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path);

  nlohmann::json metadata(const std::string& name) const;

  // The elements of a tensor; T is float or std::int64_t, as in the file.
  template <class T>
  std::vector<T> read(const std::string& name) const;

  std::vector<std::int64_t> shape(const std::string& name) const;

 private:
  MappedFile file_;
  JsonValue header_;
  std::span<const std::byte> data_;
};

}  // namespace mslt::test
