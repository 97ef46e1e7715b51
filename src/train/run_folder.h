// The folder of a run: creating and locking it, removing what killed processes left, publishing a model, and finding
// the folder again after it was moved.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/file.h"

namespace mslt {

// Where the parts of a run lie.
struct RunPaths {
  std::filesystem::path run;
  std::filesystem::path options() const { return run / "run.json"; }
  std::filesystem::path checkpoints() const { return run / "checkpoints"; }
  std::filesystem::path metrics() const { return run / "metrics.jsonl"; }
  std::filesystem::path tensorboard() const { return run / "tensorboard"; }
  std::filesystem::path report() const { return run / "report.html"; }
};

// Holds the folder open and locked. One thread at a time.
class RunFolder {
 public:
  // Creates the folder where it does not exist and locks it. Throws Error(usage) for a folder inside the checkpoints of
  // a run, Error(io) if it cannot be created or another process holds the lock.
  explicit RunFolder(const std::filesystem::path& folder);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();

  // Removes unfinished files of processes that died, by the exact names that this program gives them. Only for a folder
  // that is known to be a run's.
  void sweep() const;

  // Copies the model of a checkpoint to the top of the folder. Throws Error(io).
  void publish(const std::filesystem::path& checkpoint) const;

  // Where the folder is: `folder` if that still leads to it or cannot be looked at, another path if it was moved,
  // nothing if it was removed.
  std::optional<std::filesystem::path> whereabouts() const;
  // Follows it to another path.
  void move_to(const std::filesystem::path& folder) { folder_ = folder; }

 private:
  std::filesystem::path folder_;
  int descriptor_ = -1;
  std::unique_ptr<FolderLock> lock_;
};

}  // namespace mslt
