// Reading small files whole, writing files atomically despite crashes, and locking folders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mslt {

// The whole file as text. Throws Error(io) if it cannot be read, Error(input) if it is larger than `max_bytes` (chosen
// for the expected kind of file, so that a wrong file is not read for minutes first).
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// A file that appears under its name only when commit() has written and flushed all of it. Until then it is a temporary
// file in the same folder, which the destructor removes. One thread at a time.
class AtomicFile {
 public:
  // Throws Error(io) if the folder does not exist or cannot be written.
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Appends; throws Error(io) naming the file (this call or commit reports a full disk; nothing else is lost).
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

  // Bytes written so far.
  std::uint64_t size() const { return size_; }

  // Overwrites bytes written earlier, for headers whose counts are known last. Throws Error(io) past size().
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  // fsync, rename over `path`, fsync of the folder.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// AtomicFile in one call.
void write_file(const std::filesystem::path& path, std::string_view text);

// Flushes a folder's entries to disk, so files created or renamed in it survive a power cut.
void sync_folder(const std::filesystem::path& folder);

// Holds an exclusive advisory lock on `folder`/.lock until destroyed (or until the process dies, however it dies).
class FolderLock {
 public:
  // Throws Error(io) if another process holds the lock.
  explicit FolderLock(const std::filesystem::path& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int descriptor_ = -1;
};

}  // namespace mslt
