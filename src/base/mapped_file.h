// A read-only memory-mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace mslt {

class GuardedRange;

// Owns one mapping; movable, not copyable. Reading from several threads is safe. The bytes stay valid as long as the
// object lives. Where another process makes the file shorter meanwhile, or its disk fails, they turn to zeros:
// whoever reads them calls require_intact() afterwards, before the result is used or given out.
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

  // Whether all that was read so far were the file's bytes. Costs one system call: zeros between a new end of the file
  // and the end of its page come without a fault. Once false, it stays so. Safe to call from several threads.
  bool intact() const;
  // Throws Error(io) naming the file where it is not intact.
  void require_intact() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t device_ = 0;  // which file it is, beside its number
  std::uint64_t number_ = 0;
  GuardedRange* guard_ = nullptr;
};

}  // namespace mslt
