// Differences between systems: giving up rights, not outliving the parent, open files, and the unit of memory sizes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace mslt::faults {

// Makes file modes apply to root as well; for a child between fork and exec. Returns false with errno set if the system
// does not allow that.
bool obey_modes();

// Has the system kill this process when its parent dies, if possible; for a child between fork and exec.
void die_with_parent();

// Whether a process has the file open or mapped; nothing where the system does not tell.
std::optional<bool> has_open(pid_t process, const std::string& file);

// Bytes in one unit of rusage::ru_maxrss.
extern const std::uint64_t resident_unit;

}  // namespace mslt::faults
