// Which checkpoint a resumed run goes on from, and what becomes of the others.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint.h"

namespace mslt {

struct CheckpointChoice {
  struct Aside {
    std::filesystem::path folder;
    std::string why;  // CheckpointStore::set_aside's
  };
  std::optional<CheckpointInfo> checkpoint;  // absent: the run begins at its first step
  std::vector<Aside> aside;                  // folders to set aside before the run goes on
  bool rewinds = false;                      // the user chose to go back over steps that were recorded
  std::vector<std::string> notes;
};

// `findings` as CheckpointStore::examine gives them, `from_step` and `discard_damaged` as in TrainOptions. Where
// neither is given, the newest checkpoint has to be complete. Throws Error naming each folder that is in the way, what
// is wrong with it and what can be done: input where something is damaged, io where something could not be read, usage
// where there is no complete checkpoint of `from_step`.
CheckpointChoice choose_checkpoint(const std::vector<CheckpointFinding>& findings,
                                   std::optional<std::int64_t> from_step, bool discard_damaged);

}  // namespace mslt
