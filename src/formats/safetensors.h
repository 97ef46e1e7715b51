// Reading and writing safetensors files, and models split over several of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/mapped_file.h"
#include "formats/file_tensor.h"
#include "formats/safetensors_header.h"

namespace mslt {

// One mapped and checked safetensors file. Movable; reading from several threads is safe.
class SafetensorsFile {
 public:
  // Throws Error(io) if the file cannot be mapped, Error(input) if its header is invalid.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  std::span<const SafetensorsEntry> entries() const { return header_.entries; }
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  // Throws Error(io) naming the file if bytes read so far may be wrong (base/mapped_file.h).
  void require_intact() const { file_.require_intact(); }
  // The whole file; it starts at a page.
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  MappedFile file_;
  SafetensorsHeader header_;
};

// All tensors of a model folder: model.safetensors, or the shards that model.safetensors.index.json names.
class SafetensorsModel {
 public:
  // Prefers model.safetensors if both exist, like transformers. Throws Error(io) if neither exists or a shard is
  // missing; Error(input) if the index is invalid, names a file outside the folder, or disagrees with the contents of
  // the shards.
  explicit SafetensorsModel(const std::filesystem::path& folder);

  // Sorted by name; valid as long as the model lives.
  std::span<const FileTensor> tensors() const { return tensors_; }
  std::span<const SafetensorsFile> files() const { return files_; }
  // SafetensorsFile::require_intact, for all files.
  void require_intact() const;
  // The file, or the index of several, for messages.
  const std::string& source() const { return source_; }

 private:
  void add_file(const std::filesystem::path& path);
  void sort_tensors();

  std::string source_;
  std::vector<SafetensorsFile> files_;
  std::vector<FileTensor> tensors_;
};

// The shards of an index by tensor name. Throws Error(input) naming `source` and the wrong member: not {"weight_map":
// {tensor: file}}, or a file that is not a plain name ending in .safetensors.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text, std::string_view source);

// Streams a safetensors file: first the header, then the tensors' bytes in order, in pieces of any size. Does not
// commit the file. One thread at a time; `file` must outlive it.
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    std::string dtype;  // "F32", "I64", ...
    std::vector<std::uint64_t> shape;
  };

  // Throws Error(input) for an unknown dtype, a duplicate name, a size that overflows, or an order that would leave a
  // tensor unaligned (put wide dtypes first); Error(io) if the header cannot be written.
  SafetensorsWriter(AtomicFile& file, std::span<const Declaration> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  void write(std::span<const std::byte> bytes);
  // Throws Error(input) unless exactly the declared bytes have been written.
  void finish() const;

 private:
  AtomicFile& file_;
  std::uint64_t expected_ = 0;  // the file's size at the end
};

}  // namespace mslt
