// A training run before anything large is allocated: options resolved, data read, the folder locked, the checkpoint to
// go on from found.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json_value.h"
#include "data/data_folder.h"
#include "mslt/tokenizer.h"
#include "mslt/trainer.h"
#include "train/checkpoint.h"
#include "train/run_state.h"

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

struct PreparedRun {
  TrainOptions options;  // seq_len and model as they will be used
  RunPaths paths;
  std::unique_ptr<FolderLock> lock;
  DataInfo data;
  std::unique_ptr<const Tokenizer> tokenizer;
  JsonValue identity;  // what a resumption must share: model, data, batch shape, seed
  std::optional<CheckpointInfo> checkpoint;
  RunState state;  // the checkpoint's, or that of the beginning
  TrainPlan plan;
  std::vector<std::string> notes;
};

// Does all that Trainer's constructor promises. Writes run.json, and nothing else, on success.
PreparedRun prepare_run(const TrainOptions& options, const Backend& backend);

// {"device", "threads"}: what the last bits of a run depend on beside its identity.
nlohmann::json arithmetic_of(const Backend& backend);

}  // namespace mslt
