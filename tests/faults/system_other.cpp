// Systems without capabilities: root cannot give up reading everything, others need not. Sizes are in bytes.
#include <unistd.h>

#include <cerrno>

#include "tests/faults/system.h"

namespace mslt::faults {

const std::uint64_t resident_unit = 1;

bool obey_modes() {
  errno = EPERM;
  return ::geteuid() != 0;
}

void die_with_parent() {}

std::optional<bool> has_open(pid_t /*process*/, const std::string& /*file*/) {
  return std::nullopt;
}

}  // namespace mslt::faults
