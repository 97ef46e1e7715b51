// What a mslt::Trainer holds, for the library's other layers.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "mslt/trainer.h"
#include "train/prepared_run.h"

namespace mslt {

struct Trainer::Parts {
  // On the caller's backend, which must outlive the trainer; ignores options.device. Throws as Trainer's constructor
  // does.
  Parts(const TrainOptions& options, TrainCallbacks callbacks, Backend& backend);
  Parts(const TrainOptions& options, TrainCallbacks callbacks, std::unique_ptr<Backend> own);

  std::unique_ptr<Backend> owned;  // null where somebody else owns the backend
  Backend& backend;
  TrainCallbacks callbacks;
  PreparedRun prepared;
  bool has_run = false;
};

}  // namespace mslt
