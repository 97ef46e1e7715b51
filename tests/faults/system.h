// What differs between systems: giving up rights, not outliving the parent, and the unit of memory sizes.
#pragma once

#include <cstdint>

namespace mslt::faults {

// Makes the system refuse what file modes refuse, to root as well; for a child between fork and exec. Returns false
// with errno set where the system does not let itself be told.
bool obey_modes();

// Has the system kill this process when its parent dies, where it can; for a child between fork and exec.
void die_with_parent();

// Bytes in one unit of rusage::ru_maxrss.
extern const std::uint64_t resident_unit;

}  // namespace mslt::faults
