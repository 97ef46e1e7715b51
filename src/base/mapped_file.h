// A read-only memory-mapped file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace mslt {

// Owns one mapping; movable, not copyable. Reading from several threads is safe. The bytes stay valid as long as the
// object lives; a file that another process truncates meanwhile is the one thing that cannot be guarded against.
class MappedFile {
 public:
  // Maps the whole file. An empty file gives an empty span. Throws Error(io) where it is missing, not a regular file or
  // not readable.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace mslt
