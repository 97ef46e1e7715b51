// A training run before anything large is allocated: options resolved, data opened and checked, the folder locked, the
// checkpoint to go on from found.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json_value.h"
#include "data/data_folder.h"
#include "data/data_watch.h"
#include "data/loader.h"
#include "mslt/tokenizer.h"
#include "mslt/trainer.h"
#include "train/checkpoint.h"
#include "train/checkpoint_choice.h"
#include "train/run_folder.h"
#include "train/run_state.h"
#include "train/training_step.h"

namespace mslt {

struct PreparedRun {
  TrainOptions options;  // seq_len and model as they will be used
  RunPaths paths;
  std::unique_ptr<RunFolder> folder;
  std::unique_ptr<CheckpointStore> store;
  DataInfo data;
  std::unique_ptr<const DataWatch> watch;
  std::shared_ptr<const TokenStream> train_tokens;  // open from here on, so that removing their files costs no step
  std::shared_ptr<const TokenStream> val_tokens;    // absent if there is nothing to evaluate on
  std::unique_ptr<const Tokenizer> tokenizer;
  JsonValue identity;  // what a resumption must share: model, data, batch shape, seed
  CheckpointChoice choice;
  std::optional<CheckpointInfo> checkpoint;  // the choice's
  RunState state;                            // the checkpoint's, or that of the beginning
  TrainPlan plan;
  std::vector<std::string> notes;
};

// Does all that Trainer's constructor promises. Of the run folder it makes no more than the folder and its lock.
PreparedRun prepare_run(const TrainOptions& options, const Backend& backend);

// How the training split is read; batches are not made ahead yet.
LoaderOptions training_loader_options(const TrainOptions& options);

// What of the options a step needs.
TrainingStepOptions step_options(const TrainOptions& options);

// Writes run.json.
void write_run_options(const PreparedRun& run);

}  // namespace mslt
