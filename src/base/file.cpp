// Whole-file reading, atomic writing and folder locks over POSIX calls.
#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/fail.h"
#include "base/file_copy.h"
#include "base/system_error.h"

namespace mslt {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

void write_fully(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset,
                 const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      std::error_code unknown;
      if (!std::filesystem::exists(path, unknown)) fail_io("write", path, error);
      fail_io("write", path, error, "The previous content is unchanged.");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

}  // namespace

std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_io("open", path, errno);
  std::string text;
  // Reserves all at once: growing by doubling would take up to three times the file's size.
  struct stat status{};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    text.reserve(static_cast<std::size_t>(std::min(static_cast<std::uint64_t>(status.st_size), max_bytes)));
  }
  std::string block(std::size_t{1} << 16, '\0');
  while (true) {
    const ssize_t count = ::read(descriptor, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      ::close(descriptor);
      fail_io("read", path, error);
    }
    if (count == 0) break;
    text.append(block.data(), static_cast<std::size_t>(count));
    if (text.size() > max_bytes) {
      ::close(descriptor);
      fail(ErrorKind::input, "{} is larger than {} bytes, the limit for such a file.", path.string(), max_bytes);
    }
  }
  ::close(descriptor);
  return text;
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  std::string pattern = temporary_pattern(path);
  descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (descriptor_ < 0) {
    fail_io("create a file in", folder_of(path), errno);
  }
  temporary_ = pattern;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(descriptor_, 0666 & ~mask);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_fully(descriptor_, bytes, size_, path_);
  size_ += bytes.size();
}

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size_ || bytes.size() > size_ - offset) {
    fail(ErrorKind::io, "Cannot rewrite bytes {} to {} of {}: only {} are written.", offset, offset + bytes.size(),
         path_.string(), size_);
  }
  write_fully(descriptor_, bytes, offset, path_);
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) {
    fail_io("flush to the disk", path_, errno);
  }
  ::close(descriptor_);
  descriptor_ = -1;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_io(fmt::format("rename {} to", temporary_.string()), path_, errno);
  }
  temporary_.clear();
  sync_folder(folder_of(path_));
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_io("open the folder", folder, errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some file systems cannot flush a folder; there the rename must suffice.
  if (result != 0 && error != EINVAL) {
    fail_io("flush the folder", folder, error);
  }
}

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / ".lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_io("create", path, errno);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    ::close(descriptor_);
    fail(ErrorKind::io, "Another process is writing {}. Wait for it, or choose another folder.", folder.string());
  }
}

FolderLock::~FolderLock() {
  ::close(descriptor_);
}

}  // namespace mslt
