// Checkpoints of a run: written whole or not at all, found again, verified, pruned.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mslt {

// One complete checkpoint.
struct CheckpointInfo {
  std::int64_t step = 0;
  std::filesystem::path folder;
  std::optional<double> validation_loss;  // as of that step, where it was evaluated
};

// The folder RUN/checkpoints. A checkpoint is the folder step-N; it holds whatever its writer put there and
// manifest.json, which lists every other file with its size and CRC-32C. A folder is written under a temporary name,
// all of it is flushed, and then it is renamed: step-N exists only as a whole. To be used by the process that holds the
// run's lock. One thread at a time.
class CheckpointStore {
 public:
  // `folder` need not exist.
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Removes what processes that died while saving left behind.
  void remove_unfinished() const;

  // Lets `write` fill a temporary folder, then makes it the checkpoint of `step`, then prunes: of the checkpoints that
  // verify by size, the newest `keep` (at least 1) and the one of lowest validation loss stay, and those of later steps
  // (left from before a resumption) go. Returns what was saved. On any error nothing has changed: what was saved before
  // is still there. Throws Error(io) naming the newest complete checkpoint, and what `write` throws.
  CheckpointInfo save(std::int64_t step, std::optional<double> validation_loss, std::int64_t keep,
                      const std::function<void(const std::filesystem::path& folder)>& write) const;

  // Checkpoints with a readable manifest whose files have the sizes that it says, the newest first.
  std::vector<CheckpointInfo> list() const;
  // The newest whose sums are right as well. Adds a sentence to `notes` for each newer one passed over.
  std::optional<CheckpointInfo> latest(std::vector<std::string>& notes) const;

 private:
  void prune(std::int64_t step, std::int64_t keep) const;

  std::filesystem::path folder_;
};

}  // namespace mslt
