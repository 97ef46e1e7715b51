// Copying through a temporary file, and recognising temporary names.
#include "base/file_copy.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "base/platform_files.h"
#include "base/system_error.h"

namespace mslt {
namespace {

constexpr std::string_view temporary_mark = ".saving-";
constexpr std::size_t random_letters = 6;

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Six random characters; not a word such as "backup" or "Backup", nor a date.
bool looks_random(std::string_view text) {
  const bool starts_upper = is_upper(text.front());
  const bool is_word = std::all_of(text.begin() + (starts_upper ? 1 : 0), text.end(), is_lower);
  return !is_word && std::any_of(text.begin(), text.end(), is_upper) &&
         !std::all_of(text.begin(), text.end(), is_upper);
}

// Writes the unread rest of `source`.
void copy_blocks(int source, const std::filesystem::path& source_path, AtomicFile& file) {
  std::vector<std::byte> block(std::size_t{1} << 20);
  while (true) {
    const ssize_t count = ::read(source, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_io("read", source_path, errno);
    if (count == 0) return;
    file.write(std::span(block).first(static_cast<std::size_t>(count)));
  }
}

// Closes a descriptor at the end of a block.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(descriptor_); }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// Returns false, with nothing changed, if storage cannot be shared.
bool write_clone(const std::filesystem::path& source, const std::filesystem::path& path) {
  std::string temporary = temporary_pattern(path);
  int descriptor = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0) fail_io("create a file for", path, errno);
  const bool cloned = clone_file(source, temporary, descriptor);
  const Descriptor closes_it(descriptor);
  struct stat status = {};
  const bool renamed = cloned && ::stat(source.c_str(), &status) == 0 &&
                       ::fchmod(descriptor, status.st_mode & 0777) == 0 && ::fsync(descriptor) == 0 &&
                       ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!renamed) {
    ::unlink(temporary.c_str());
    return false;
  }
  sync_folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
  return true;
}

}  // namespace

void write_copy(const std::filesystem::path& source, const std::filesystem::path& path) {
  const int descriptor = ::open(source.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_io("open", source, errno);
  const Descriptor from(descriptor);
  if (write_clone(source, path)) return;
  AtomicFile file(path);
  copy_blocks(from.get(), source, file);
  file.commit();
}

std::string temporary_pattern(const std::filesystem::path& file) {
  return file.string() + std::string(temporary_mark) + std::string(random_letters, 'X');
}

bool is_temporary_name(std::string_view name, std::string_view file) {
  if (!name.starts_with(file)) return false;
  name.remove_prefix(file.size());
  const bool marked = name.starts_with(temporary_mark);
  if (!marked && !name.starts_with('.')) return false;
  name.remove_prefix(marked ? temporary_mark.size() : 1);
  if (name.size() != random_letters) return false;
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return is_lower(c) || is_upper(c) || is_digit(c); });
  return plain && (marked || looks_random(name));
}

std::filesystem::path unused_path(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::path unused = path;
  for (int number = 2; std::filesystem::exists(std::filesystem::symlink_status(unused, ignored)); ++number) {
    unused = fmt::format("{}-{}", path.string(), number);
  }
  return unused;
}

}  // namespace mslt
