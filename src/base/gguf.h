// Bounded reading of untrusted GGUF files: their metadata and their table of tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace mslt {

// The types of metadata, with the file's numbers.
enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

// How tensors of one type are stored: `elements` of a row at a time in `bytes` bytes.
struct GgufBlock {
  std::uint32_t type;     // the file's number
  std::string_view name;  // "F32", "Q4_K", ...
  std::uint64_t elements;
  std::uint64_t bytes;
};

// By the file's number; nothing for an unknown one.
std::optional<GgufBlock> gguf_block(std::uint32_t type);
// By name.
std::optional<GgufBlock> gguf_block(std::string_view name);

struct GgufTensor {
  std::string name;
  GgufBlock block;
  std::vector<std::uint64_t> shape;  // the last dimension is contiguous, as in other formats
  std::span<const std::byte> data;
};

// What a GGUF file of version 2 or 3 in little endian says. A view: the bytes must outlive it. Reading takes memory
// for the names alone, however large the counts. Readers of metadata throw Error(input) naming file and key if the
// key's type or value is another; those without a fallback also if it is absent. Immutable: safe to read from several
// threads.
class Gguf {
 public:
  // Checks all of the file but the data of tensors. Throws Error(input) naming `source` and the key or tensor: a count
  // or length beyond the end of the file, an unknown type, nesting deeper than 8 arrays, a name that occurs twice,
  // an alignment that is no power of two, a size that overflows or is no multiple of a block, data that is not
  // aligned, outside the file, or inside another tensor's.
  Gguf(std::span<const std::byte> file, std::string source);

  const std::string& source() const { return source_; }
  std::uint32_t version() const { return version_; }
  // In the order of their data.
  std::span<const GgufTensor> tensors() const { return tensors_; }
  // Nothing if there is none of that name.
  const GgufTensor* find_tensor(std::string_view name) const;
  std::vector<std::string_view> keys() const;

  bool has(std::string_view key) const { return metadata_.contains(key); }
  bool is_array(std::string_view key) const;
  // A count or a size: 1 to 2^31 - 1, of any integer type.
  std::int64_t size(std::string_view key) const;
  std::int64_t size(std::string_view key, std::int64_t fallback) const;
  // Any integer type, from 0 on.
  std::optional<std::uint64_t> unsigned_number(std::string_view key) const;
  // Any finite number.
  double number(std::string_view key) const;
  double number(std::string_view key, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string_view text(std::string_view key) const;
  std::string_view text(std::string_view key, std::string_view fallback) const;
  // Arrays.
  std::vector<std::string_view> texts(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;

  // Throws Error(input): "FILE: the key 'KEY' is VALUE; EXPECTED."
  [[noreturn]] void reject(std::string_view key, std::string_view expected) const;

 private:
  struct Value {
    GgufType type = GgufType::u8;
    GgufType element = GgufType::u8;        // of an array
    std::uint64_t count = 0;                // of an array
    std::span<const std::byte> bytes = {};  // of a text or an array: what follows its length
  };
  class Reader;

  const Value* find(std::string_view key) const;
  const Value& require(std::string_view key) const;
  void read_tensors(Reader& reader, std::uint64_t count);
  void check_layout() const;

  std::span<const std::byte> file_;
  std::string source_;
  std::uint32_t version_ = 0;
  std::map<std::string, Value, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
};

// Whether the path names a file that can be read and begins as GGUF files do.
bool is_gguf_file(const std::filesystem::path& path);

// A mapped GGUF file. Movable.
class GgufFile {
 public:
  // Throws as MappedFile and Gguf do.
  explicit GgufFile(const std::filesystem::path& path) : file_(path), contents_(file_.bytes(), path.string()) {
    file_.require_intact();
  }

  const Gguf& contents() const { return contents_; }
  // Throws Error(io) naming the file if bytes read so far may be wrong (base/mapped_file.h).
  void require_intact() const { file_.require_intact(); }

 private:
  MappedFile file_;
  Gguf contents_;
};

}  // namespace mslt
