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
#include "parallel/communicator.h"
#include "train/checkpoint.h"
#include "train/checkpoint_choice.h"
#include "train/run_folder.h"
#include "train/run_state.h"
#include "train/share.h"
#include "train/training_step.h"

namespace mslt {

struct PreparedRun {
  TrainOptions options;  // seq_len and model as they will be used
  Share share;           // what this process does of each step
  RunPaths paths;
  std::unique_ptr<RunFolder> folder;  // of the leading process; absent on others
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

// Does all that Trainer's constructor promises. Of the run folder it makes no more than the folder and its lock. All
// ranks call it; those that do not lead need the data only, and learn from the leading one what it found in the run
// folder. Throws Error(usage) naming the rank whose options, version or data are not rank 0's, and what share_of
// throws.
PreparedRun prepare_run(const TrainOptions& options, Backend& backend, Communicator& communicator);

// How the training split is read, a step's sequences of one rank at a time; they are not made ahead yet.
LoaderOptions training_loader_options(const TrainOptions& options, const Share& share);

// What of the options a step of one rank needs.
TrainingStepOptions step_options(const TrainOptions& options, const Share& share);

// Writes run.json.
void write_run_options(const PreparedRun& run);

}  // namespace mslt
