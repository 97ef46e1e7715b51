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
// object lives. If another process shortens the file meanwhile, or its disk fails, they turn to zeros: readers call
// require_intact() afterwards, before they use or pass on the result.
class MappedFile {
 public:
  // Maps the whole file. An empty file gives an empty span. Throws Error(io) if it is missing, unreadable or not a
  // regular file.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Whether everything read so far came from the file. Costs one system call, because zeros between a new end of the
  // file and the end of its page cause no fault. Once false, it stays false. Safe to call from several threads.
  bool intact() const;
  // Throws Error(io) naming the file if it is not intact.
  void require_intact() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t device_ = 0;  // identifies the file, with its number
  std::uint64_t number_ = 0;
  GuardedRange* guard_ = nullptr;
};

}  // namespace mslt
