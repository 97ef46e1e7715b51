// Paths over POSIX calls.
#include "base/paths.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "base/system_error.h"

namespace mslt {
namespace {

// Mode 0 if nothing exists there.
mode_t mode_of(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return status.st_mode;
  if (errno == ENOENT || errno == ENOTDIR) return 0;
  fail_io("look at", path, errno);
}

}  // namespace

bool path_exists(const std::filesystem::path& path) {
  return mode_of(path) != 0;
}

bool is_folder(const std::filesystem::path& path) {
  return S_ISDIR(mode_of(path));
}

void make_folders(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail_io("create the folder", folder, error.value());
  // The path may be a file, which some libraries do not treat as an error.
  if (!is_folder(folder)) fail_io("create the folder", folder, ENOTDIR);
}

}  // namespace mslt
