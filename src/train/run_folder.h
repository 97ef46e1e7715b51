// The folder of a run: made, locked, swept of what killed processes left, given a model to publish, and found again
// where it was moved.
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
  // a run, Error(io) where it cannot be created or another process holds the lock.
  explicit RunFolder(const std::filesystem::path& folder);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();

  // Removes unfinished files of processes that died: those that have exactly the names which this program gives. To be
  // called where the folder is known to be that of a run.
  void sweep() const;

  // Puts the model of a checkpoint at the top of the folder: copies, so that whatever happens to them the checkpoint
  // stays good. Throws Error(io).
  void publish(const std::filesystem::path& checkpoint) const;

  // Where the folder is at present: `folder` as long as that leads to it, another path where it was moved, nothing
  // where it was removed. Where it cannot be looked at, `folder`.
  std::optional<std::filesystem::path> whereabouts() const;
  // Follows it to another path.
  void move_to(const std::filesystem::path& folder) { folder_ = folder; }

 private:
  std::filesystem::path folder_;
  int descriptor_ = -1;
  std::unique_ptr<FolderLock> lock_;
};

}  // namespace mslt
