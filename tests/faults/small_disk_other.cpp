// Systems without tmpfs.
#include "tests/faults/small_disk.h"

namespace mslt::faults {

SmallDisk::SmallDisk(const std::filesystem::path& folder, std::uint64_t)
    : folder_(folder), problem_("this system has no tmpfs") {}

SmallDisk::~SmallDisk() = default;

std::uint64_t SmallDisk::used() const {
  return 0;
}

void SmallDisk::leave_free(std::uint64_t) const {}

void SmallDisk::make_room() const {}

}  // namespace mslt::faults
