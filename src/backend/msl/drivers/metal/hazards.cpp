// Comparing ranges of memory.
#include "backend/msl/drivers/metal/hazards.h"

#include <algorithm>

namespace mslt::msl::metal {
namespace {

bool overlap(const MemoryAccess& a, const MemoryAccess& b) {
  return a.memory == b.memory && a.begin < b.end && b.begin < a.end;
}

bool any_overlap(const std::vector<MemoryAccess>& earlier, const MemoryAccess& access) {
  return std::any_of(earlier.begin(), earlier.end(),
                     [&access](const MemoryAccess& other) { return overlap(other, access); });
}

}  // namespace

bool HazardTracker::conflicts(std::span<const MemoryAccess> command) const {
  return std::any_of(command.begin(), command.end(), [this](const MemoryAccess& access) {
    if (access.begin >= access.end) return false;
    return any_overlap(writes_, access) || (access.writes && any_overlap(reads_, access));
  });
}

void HazardTracker::record(std::span<const MemoryAccess> command) {
  for (const MemoryAccess& access : command) {
    if (access.begin < access.end) (access.writes ? writes_ : reads_).push_back(access);
  }
}

void HazardTracker::clear() {
  reads_.clear();
  writes_.clear();
}

}  // namespace mslt::msl::metal
