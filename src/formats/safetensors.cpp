// Mapped safetensors files, sharded models and the streaming writer.
#include "formats/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/checked.h"
#include "base/fail.h"
#include "base/paths.h"

namespace mslt {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(parse_safetensors_header(file_.bytes(), path.string())) {
  file_.require_intact();
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return file_.bytes().subspan(static_cast<std::size_t>(header_.data_offset + entry.begin),
                               static_cast<std::size_t>(entry.end - entry.begin));
}

SafetensorsModel::SafetensorsModel(const std::filesystem::path& folder) {
  const std::filesystem::path single = folder / "model.safetensors";
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (path_exists(single) || !path_exists(index)) {
    if (!path_exists(single)) {
      fail(ErrorKind::io, "{} holds neither model.safetensors nor model.safetensors.index.json.", folder.string());
    }
    source_ = single.string();
    add_file(single);
    sort_tensors();
    return;
  }
  source_ = index.string();
  constexpr std::uint64_t max_index_bytes = std::uint64_t{1} << 28;
  const auto shards = parse_safetensors_index(read_file(index, max_index_bytes), source_);
  std::set<std::string> names;
  for (const auto& [tensor, shard] : shards) names.insert(shard);
  for (const std::string& name : names) add_file(folder / name);
  std::set<std::string> seen;
  for (const SafetensorsFile& file : files_) {
    for (const SafetensorsEntry& entry : file.entries()) {
      const auto listed = shards.find(entry.name);
      if (listed == shards.end() || listed->second != file.path().filename().string()) {
        fail(ErrorKind::input, "{}: the index does not place the tensor '{}' in {}, which holds it.", source_,
             entry.name, file.path().filename().string());
      }
      seen.insert(entry.name);
    }
  }
  for (const auto& [tensor, shard] : shards) {
    if (!seen.contains(tensor)) {
      fail(ErrorKind::input, "{}: the tensor '{}' should be in {}, but is not.", source_, tensor, shard);
    }
  }
  sort_tensors();
}

void SafetensorsModel::require_intact() const {
  for (const SafetensorsFile& file : files_) file.require_intact();
}

void SafetensorsModel::add_file(const std::filesystem::path& path) {
  const SafetensorsFile& file = files_.emplace_back(path);
  for (const SafetensorsEntry& entry : file.entries()) {
    tensors_.push_back({entry.name, entry.dtype, entry.shape, file.bytes(entry)});
  }
}

void SafetensorsModel::sort_tensors() {
  std::sort(tensors_.begin(), tensors_.end(), [](const FileTensor& a, const FileTensor& b) { return a.name < b.name; });
}

SafetensorsWriter::SafetensorsWriter(AtomicFile& file, std::span<const Declaration> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(file) {
  std::vector<SafetensorsEntry> entries;
  std::set<std::string_view> names;
  std::uint64_t position = 0;
  for (const Declaration& tensor : tensors) {
    const auto bits = safetensors_dtype_bits(tensor.dtype);
    if (!bits || *bits % 8 != 0) {
      fail(ErrorKind::input, "The tensor '{}' cannot be written: the dtype {} is not supported.", tensor.name,
           tensor.dtype);
    }
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      fail(ErrorKind::input, "Two tensors of one safetensors file are named '{}'.", tensor.name);
    }
    std::uint64_t bytes = *bits / 8;
    if (position % bytes != 0) {
      fail(ErrorKind::input, "The tensor '{}' of dtype {} would lie unaligned after narrower ones.", tensor.name,
           tensor.dtype);
    }
    for (const std::uint64_t dimension : tensor.shape) bytes = checked_multiply(bytes, dimension, tensor.name);
    const std::uint64_t end = checked_add(position, bytes, tensor.name);
    entries.push_back({tensor.name, tensor.dtype, tensor.shape, position, end});
    position = end;
  }
  file_.write(format_safetensors_header(entries, metadata));
  expected_ = checked_add(file_.size(), position, "a safetensors file");
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  if (bytes.size() > expected_ - file_.size()) {
    fail(ErrorKind::input, "More bytes than declared were given to a safetensors file.");
  }
  file_.write(bytes);
}

void SafetensorsWriter::finish() const {
  if (file_.size() != expected_) {
    fail(ErrorKind::input, "A safetensors file of {} bytes was declared, but {} were written.", expected_,
         file_.size());
  }
}

}  // namespace mslt
