// Linux: capabilities, the parent-death signal, /proc/PID/maps, kibibytes.
#include <linux/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

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

std::optional<bool> has_mapped(pid_t process, const std::string& file) {
  std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with(file)) return true;
  }
  return false;
}

}  // namespace mslt::faults
