// Linux and macOS versions of each function.
#include "base/platform_files.h"

#include <fcntl.h>
#include <unistd.h>

#ifdef __APPLE__
#include <sys/clonefile.h>
#include <sys/syslimits.h>

#include <array>
#else
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <string>
#include <system_error>
#endif

namespace mslt {

#ifdef __APPLE__

bool clone_file(const std::filesystem::path& from, const std::filesystem::path& to, int& descriptor) {
  // clonefile creates the file itself, so the empty one must go first.
  ::unlink(to.c_str());
  const bool cloned = ::clonefile(from.c_str(), to.c_str(), 0) == 0;
  const int reopened = ::open(to.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (reopened < 0) return false;
  ::close(descriptor);
  descriptor = reopened;
  return cloned;
}

std::optional<std::filesystem::path> path_of_descriptor(int descriptor) {
  std::array<char, PATH_MAX> path{};
  if (::fcntl(descriptor, F_GETPATH, path.data()) != 0) return std::nullopt;
  return std::filesystem::path(path.data());
}

#else

bool clone_file(const std::filesystem::path& from, const std::filesystem::path&, int& descriptor) {
  const int source = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (source < 0) return false;
  const bool cloned = ::ioctl(descriptor, FICLONE, source) == 0;
  ::close(source);
  return cloned;
}

std::optional<std::filesystem::path> path_of_descriptor(int descriptor) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), error);
  if (error || !path.is_absolute()) return std::nullopt;
  return path;
}

#endif

}  // namespace mslt
