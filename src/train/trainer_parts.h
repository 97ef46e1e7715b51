// What a mslt::Trainer holds, for the library's other layers.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "mslt/trainer.h"
#include "parallel/communicator.h"
#include "train/prepared_run.h"

namespace mslt {

struct Trainer::Parts {
  // On the caller's backend, which must outlive the trainer; ignores options.device. With a communicator, which must
  // outlive it too, all of its ranks train together: each makes a trainer of the same options, calls run(), and tells
  // the others of an exception (Communicator::tell_failure). The leading one's callbacks alone are told of events and
  // asked for samples; any rank may stop the run. Throws as Trainer's constructor does.
  Parts(const TrainOptions& options, TrainCallbacks callbacks, Backend& backend, Communicator* others = nullptr);
  Parts(const TrainOptions& options, TrainCallbacks callbacks, std::unique_ptr<Backend> own,
        Communicator* others = nullptr);

  std::unique_ptr<Backend> owned;  // null where somebody else owns the backend
  Backend& backend;
  std::unique_ptr<Communicator> alone;  // null where there are others
  Communicator& communicator;
  TrainCallbacks callbacks;
  PreparedRun prepared;
  bool has_run = false;
};

}  // namespace mslt
