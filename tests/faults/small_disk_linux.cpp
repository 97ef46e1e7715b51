// tmpfs in the process's own mount namespace.
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/faults/small_disk.h"
#include "tests/faults/snapshot.h"

namespace mslt::faults {
namespace {

std::string refusal(const char* what) {
  return fmt::format("this user may not {}: {}", what, std::strerror(errno));
}

// Makes later mounts private to this process. Returns why that is impossible.
std::string leave_shared_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) return refusal("make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return refusal("make mounts private");
  return {};
}

}  // namespace

SmallDisk::SmallDisk(const std::filesystem::path& folder, std::uint64_t bytes)
    : folder_(folder), problem_(leave_shared_mounts()) {
  if (!problem_.empty()) return;
  std::filesystem::create_directories(folder_);
  const std::string options = fmt::format("size={},mode=0755", bytes);
  if (::mount("tmpfs", folder_.c_str(), "tmpfs", 0, options.c_str()) != 0) problem_ = refusal("mount a tmpfs");
}

SmallDisk::~SmallDisk() {
  if (problem_.empty()) ::umount2(folder_.c_str(), MNT_DETACH);
}

std::uint64_t SmallDisk::used() const {
  const std::filesystem::space_info space = std::filesystem::space(folder_);
  return space.capacity - space.free;
}

void SmallDisk::leave_free(std::uint64_t bytes) const {
  make_room();
  const std::uint64_t free = std::filesystem::space(folder_).free;
  spill(ballast(), std::string(free - std::min(free, bytes), 'b'));
}

void SmallDisk::make_room() const {
  std::filesystem::remove(ballast());
}

}  // namespace mslt::faults
