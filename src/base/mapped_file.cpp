// Memory-mapped files over POSIX mmap.
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/fail.h"
#include "base/fault_guard.h"
#include "base/printable.h"
#include "base/process_limits.h"
#include "base/system_error.h"

namespace mslt {

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_io("open", path, errno);
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail(ErrorKind::io, "Cannot read {}: it is not a regular file.", path.string());
  }
  size_ = static_cast<std::size_t>(status.st_size);
  device_ = static_cast<std::uint64_t>(status.st_dev);
  number_ = static_cast<std::uint64_t>(status.st_ino);
  void* address = nullptr;
  if (size_ > 0) {
    // Shared, so a GPU can use the pages themselves. Some network and user file systems only map privately.
    address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED && (errno == ENODEV || errno == EINVAL)) {
      address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
  }
  const int error = errno;
  ::close(descriptor);
  if (address == MAP_FAILED) {
    if (error != ENOMEM) fail_io("map into memory", path, error);
    fail(ErrorKind::memory, "Cannot map {} into memory, {}: {}.", printable(path.string()), binary_size(size_),
         explain_memory(size_, size_));
  }
  if (address == nullptr) return;
  try {
    guard_ = guard_range(address, size_);
  } catch (...) {
    ::munmap(address, size_);
    throw;
  }
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      device_(other.device_),
      number_(other.number_),
      guard_(std::exchange(other.guard_, nullptr)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(device_, other.device_);
  std::swap(number_, other.number_);
  std::swap(guard_, other.guard_);
  return *this;
}

MappedFile::~MappedFile() {
  unguard_range(guard_);
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

bool MappedFile::intact() const {
  if (guard_ == nullptr) return true;
  if (is_damaged(*guard_)) return false;
  // Checked by name: an open descriptor for every shard of a large data folder would be too many. If the name is gone
  // or belongs to another file, the mapped file lives on and nobody can shorten it by that name.
  struct stat status{};
  if (::stat(path_.c_str(), &status) != 0 || static_cast<std::uint64_t>(status.st_dev) != device_ ||
      static_cast<std::uint64_t>(status.st_ino) != number_ || static_cast<std::uint64_t>(status.st_size) >= size_) {
    return true;
  }
  mark_damaged(*guard_);
  return false;
}

void MappedFile::require_intact() const {
  if (intact()) return;
  fail(ErrorKind::io,
       "{} was shortened or could not be read while in use. Restore the file, check its disk, and repeat the command.",
       path_.string());
}

}  // namespace mslt
