// The public face of training.
#include "mslt/trainer.h"

#include <utility>

#include "backend/registry.h"
#include "base/fail.h"
#include "train/trainer_parts.h"
#include "train/training_run.h"

namespace mslt {

Trainer::Parts::Parts(const TrainOptions& options, TrainCallbacks taking_part, Backend& on, Communicator* others)
    : backend(on),
      alone(others == nullptr ? make_lone_communicator() : nullptr),
      communicator(others == nullptr ? *alone : *others),
      callbacks(std::move(taking_part)),
      prepared(prepare_run(options, backend, communicator)) {}

Trainer::Parts::Parts(const TrainOptions& options, TrainCallbacks taking_part, std::unique_ptr<Backend> own,
                      Communicator* others)
    : owned(std::move(own)),
      backend(*owned),
      alone(others == nullptr ? make_lone_communicator() : nullptr),
      communicator(others == nullptr ? *alone : *others),
      callbacks(std::move(taking_part)),
      prepared(prepare_run(options, backend, communicator)) {}

Trainer::Trainer(const TrainOptions& options, TrainCallbacks callbacks)
    : Trainer(std::make_unique<Parts>(
          options, std::move(callbacks),
          make_backend(options.device, options.tuning, {options.attention, options.products}))) {}

Trainer::Trainer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Trainer::~Trainer() = default;

const TrainPlan& Trainer::plan() const {
  return parts_->prepared.plan;
}

TrainResult Trainer::run(double peak_flops) {
  if (std::exchange(parts_->has_run, true)) fail(ErrorKind::usage, "A Trainer runs once; make another one to resume.");
  TrainingRun run(parts_->prepared, parts_->callbacks, parts_->backend, parts_->communicator, peak_flops);
  return run.run();
}

}  // namespace mslt
