// A file system so small that it fills up. Needs Linux, and root or namespaces; otherwise says why it is unavailable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mslt::faults {

// A tmpfs at `folder`, visible only to this process and its children, so it always disappears with them.
class SmallDisk {
 public:
  SmallDisk(const std::filesystem::path& folder, std::uint64_t bytes);
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk();

  // Why this machine cannot have such a disk; empty if it is mounted.
  const std::string& problem() const { return problem_; }
  const std::filesystem::path& folder() const { return folder_; }

  std::uint64_t used() const;
  // Uses all free space except `bytes`, in a file that no command needs.
  void leave_free(std::uint64_t bytes) const;
  void make_room() const;

 private:
  std::filesystem::path ballast() const { return folder_ / "ballast"; }

  std::filesystem::path folder_;
  std::string problem_;
};

}  // namespace mslt::faults
