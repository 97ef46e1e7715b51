// Linux: capabilities, the parent-death signal, /proc, kibibytes.
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "tests/faults/system.h"

namespace mslt::faults {

const std::uint64_t resident_unit = 1024;

bool obey_modes() {
  // Capabilities outside the bounding set are lost at exec for every user; only root had them.
  if (::geteuid() != 0) return true;
  return ::prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0 &&
         ::prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0) == 0;
}

void die_with_parent() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

std::optional<bool> has_open(pid_t process, const std::string& file) {
  const std::filesystem::path entry = std::filesystem::path("/proc") / std::to_string(process);
  std::ifstream maps(entry / "maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with(file)) return true;
  }
  // The process may end while this looks.
  std::error_code error;
  for (const auto& descriptor : std::filesystem::directory_iterator(entry / "fd", error)) {
    if (std::filesystem::read_symlink(descriptor.path(), error) == file) return true;
  }
  return false;
}

}  // namespace mslt::faults
