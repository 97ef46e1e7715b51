// A file system so small that it fills up. Linux, and root or who may make namespaces there; elsewhere it says why not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mslt::faults {

// A tmpfs at `folder`, seen by this process and its children alone, so that it is gone with them whatever happens.
class SmallDisk {
 public:
  SmallDisk(const std::filesystem::path& folder, std::uint64_t bytes);
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk();

  // Why there is no such disk on this machine; empty where it is mounted.
  const std::string& problem() const { return problem_; }
  const std::filesystem::path& folder() const { return folder_; }

  std::uint64_t used() const;
  // Takes all but `bytes` of what is free, in a file that stands in no command's way.
  void leave_free(std::uint64_t bytes) const;
  void make_room() const;

 private:
  std::filesystem::path ballast() const { return folder_ / "ballast"; }

  std::filesystem::path folder_;
  std::string problem_;
};

}  // namespace mslt::faults
