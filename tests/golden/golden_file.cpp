// Reading the golden files of make_golden.py.
#include "golden_file.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>

namespace mslt::test {

GoldenFile::GoldenFile(const std::filesystem::path& path) : file_(path) {
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file_.bytes().data(), sizeof(header_bytes));
  const auto* text = reinterpret_cast<const char*>(file_.bytes().data()) + sizeof(header_bytes);
  header_ = nlohmann::json::parse(text, text + header_bytes);
  data_ = file_.bytes().subspan(sizeof(header_bytes) + header_bytes);
}

nlohmann::json GoldenFile::metadata(const std::string& name) const {
  return nlohmann::json::parse(header_.get().at("__metadata__").at("golden").get<std::string>()).at(name);
}

template <class T>
std::vector<T> GoldenFile::read(const std::string& name) const {
  const nlohmann::json& entry = header_.get().at(name);
  const std::string expected = std::is_same_v<T, float> ? "F32" : "I64";
  if (entry.at("dtype") != expected) throw std::runtime_error(name + " is not " + expected);
  const auto offsets = entry.at("data_offsets").get<std::vector<std::size_t>>();
  std::vector<T> values((offsets.at(1) - offsets.at(0)) / sizeof(T));
  std::memcpy(values.data(), data_.subspan(offsets.at(0), offsets.at(1) - offsets.at(0)).data(),
              values.size() * sizeof(T));
  return values;
}
template std::vector<float> GoldenFile::read(const std::string& name) const;
template std::vector<std::int64_t> GoldenFile::read(const std::string& name) const;

std::vector<std::int64_t> GoldenFile::shape(const std::string& name) const {
  return header_.get().at(name).at("shape").get<std::vector<std::int64_t>>();
}

}  // namespace mslt::test
