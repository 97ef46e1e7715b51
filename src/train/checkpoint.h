// Checkpoints of a run: written whole or not at all, found again, verified, pruned, set aside; never lost.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// One complete checkpoint.
struct CheckpointInfo {
  std::int64_t step = 0;
  std::filesystem::path folder;
  std::optional<double> validation_loss;  // as of that step, where it was evaluated
  std::vector<std::string> files = {};    // the names that its manifest lists, where it has been read
};

enum class CheckpointHealth {
  complete,  // manifest, sizes and sums are right
  damaged,   // something in it is missing or wrong
  doubtful,  // it could not be read: permissions, descriptors, a failing disk
};

// What was found in one folder step-N.
struct CheckpointFinding {
  CheckpointInfo info;
  CheckpointHealth health = CheckpointHealth::complete;
  std::string problem;  // what is wrong, in words; empty where complete
};

// The folder RUN/checkpoints. A checkpoint is the folder step-N; it holds whatever its writer put there and
// manifest.json, which lists every other file with its size and CRC-32C. A folder is written under a temporary name,
// flushed and renamed, so step-N exists only as a whole. Only the process that holds the run's lock may use it. One
// thread at a time.
class CheckpointStore {
 public:
  // `folder` need not exist, but the folder that it lies in has to.
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // The folder of a step's checkpoint.
  std::filesystem::path place_of(std::int64_t step) const;

  // Where the folder is after it was moved.
  void move_to(std::filesystem::path folder);

  // Removes what processes that died while saving left behind.
  void remove_unfinished() const;

  // Whether there is any checkpoint, in whatever state, set aside or not. Throws Error(io) if the folder cannot be
  // listed.
  bool holds_any() const;

  // Every step-N folder, the newest first, read and compared with its sums. `check` may look further into a folder
  // whose sums are right: if it throws Error(input), the folder is damaged; on another Error, doubtful. Throws
  // Error(io) if the folder cannot be listed.
  std::vector<CheckpointFinding> examine(const std::function<void(const CheckpointInfo&)>& check = {});

  // Lets `write` fill a temporary folder, makes it the checkpoint of `step`, and prunes. Of the checkpoints that this
  // object saved or found complete, the newest `keep` (at least 1) and the one of lowest validation loss stay; other
  // folders are left alone. A folder that already has the name is set aside. Returns what was saved. An error changes
  // nothing. Throws Error(io) naming the newest complete checkpoint, and what `write` throws.
  CheckpointInfo save(std::int64_t step, std::optional<double> validation_loss, std::int64_t keep,
                      const std::function<void(const std::filesystem::path& folder)>& write);

  // Renames a step-N folder to step-N.WHY, or step-N.WHY-2 and so on where that is taken; returns the new path. Throws
  // Error(io).
  std::filesystem::path set_aside(const std::filesystem::path& checkpoint, std::string_view why);

  // The checkpoints that this object saved or found complete, the newest first.
  std::vector<CheckpointInfo> complete() const;

  // Prunes as save() does, for a process that died before that.
  void prune(std::int64_t keep);

 private:
  std::filesystem::path folder_;
  std::map<std::int64_t, CheckpointInfo> complete_;
};

}  // namespace mslt
