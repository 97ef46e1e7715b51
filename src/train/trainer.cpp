// The public face of training.
#include "mslt/trainer.h"

#include <utility>

#include "backend/registry.h"
#include "base/fail.h"
#include "train/matmul_peak.h"
#include "train/prepared_run.h"
#include "train/training_run.h"

namespace mslt {

struct Trainer::State {
  State(std::unique_ptr<Backend> own, Backend& on, const TrainOptions& options, TrainCallbacks taking_part)
      : owned(std::move(own)), device(on), callbacks(std::move(taking_part)), prepared(prepare_run(options, device)) {}

  std::unique_ptr<Backend> owned;
  Backend& device;
  TrainCallbacks callbacks;
  PreparedRun prepared;
  double peak_flops = 0.0;
  bool has_run = false;
};

Trainer::Trainer(const TrainOptions& options, TrainCallbacks callbacks) {
  auto owned = make_backend(options.device, options.tuning, {options.attention, options.products});
  Backend& device = *owned;
  state_ = std::make_unique<State>(std::move(owned), device, options, std::move(callbacks));
}

Trainer::Trainer(const TrainOptions& options, TrainCallbacks callbacks, Backend& backend)
    : state_(std::make_unique<State>(nullptr, backend, options, std::move(callbacks))) {}

Trainer::~Trainer() = default;

const TrainPlan& Trainer::plan() const {
  return state_->prepared.plan;
}

Backend& Trainer::backend() const {
  return state_->device;
}

double Trainer::measure_peak() {
  state_->peak_flops = measure_matmul_peak(state_->device, dtype_from_name(state_->prepared.options.dtype));
  return state_->peak_flops;
}

TrainResult Trainer::run() {
  if (std::exchange(state_->has_run, true)) fail(ErrorKind::usage, "A Trainer runs once; make another one to resume.");
  TrainingRun run(state_->prepared, state_->callbacks, state_->device, state_->peak_flops);
  return run.run();
}

}  // namespace mslt
