// What a training run saves between steps: checkpoints, the published model, the report.
#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/file.h"
#include "formats/model_folder.h"
#include "train/agreement.h"
#include "train/crc32c.h"
#include "train/report.h"
#include "train/shared_optimizer_file.h"
#include "train/training_run.h"

namespace mslt {

namespace fs = std::filesystem;

// A step whose loss was finite may still have ruined the weights; such weights never replace a good checkpoint.
void TrainingRun::require_finite_weights(std::int64_t step) {
  float norm = 0.0f;
  backend_.run(GlobalNorm{.out = weight_norm_, .gradients = transformer().parameters().whole()});
  backend_.download(weight_norm_, std::as_writable_bytes(std::span(&norm, 1)));
  if (!std::isfinite(norm)) stop_not_finite(step, "norm of the weights after the update", norm);
}

// All ranks make the same updates, so their parameters have the same bits, unless a device or its memory is at fault.
void TrainingRun::require_same_weights(std::int64_t step) {
  if (communicator_.is_alone()) return;
  constexpr std::int64_t most = std::int64_t{1} << 20;
  const Tensor whole = transformer().parameters().whole();
  std::vector<std::byte> staging;
  std::uint32_t sum = 0;
  for (std::int64_t begin = 0; begin < whole.elements(); begin += most) {
    const Tensor part = whole.slice(begin, std::min(most, whole.elements() - begin));
    staging.resize(part.bytes());
    backend_.download(part, staging);
    sum = crc32c(staging, sum);
  }
  require_same_parameters(communicator_, sum, step);
}

void TrainingRun::save_now(std::int64_t step) {
  collect(0);
  backend_.wait();
  require_finite_weights(step);
  if (!communicator_.leads()) {
    if (step_->shards_state()) write_optimizer_with_others(communicator_.broadcast(std::string()));
    // Where the leading rank fails to save it, the run ends before anything refers to it.
    last_saved_ = CheckpointInfo{step, store_.place_of(step), std::nullopt};
    return;
  }
  const Clock::time_point begin = Clock::now();
  require_run_folder();
  attempt(SideTask::metrics, [&] { metrics_->sync(); });
  state_.metrics_bytes = metrics_->bytes();
  state_.loss_scale = scaler_.scale();
  state_.good_updates = scaler_.good_updates();
  std::optional<double> validation_loss;
  if (last_evaluation_ && last_evaluation_->step == step) validation_loss = last_evaluation_->loss;
  saving_ = true;
  last_saved_ = store_.save(step, validation_loss, options_.keep_checkpoints, [&](const fs::path& folder) {
    // A run has started with its first checkpoint; until then run.json would only tell of a failed start.
    if (!options_written_) write_run_options(prepared_);
    save_model_folder(folder, transformer(), prepared_.tokenizer.get(), carried_);
    save_optimizer_state(folder / "optimizer.safetensors");
    save_run_state(folder / "state.json", state_);
  });
  saving_ = false;
  options_written_ = true;
  publish(*last_saved_);
  if (options_.report) attempt(SideTask::report, [&] { write_report(); });
  emit(SaveEvent{step, last_saved_->folder, std::chrono::duration<double>(Clock::now() - begin).count()});
}

void TrainingRun::save_optimizer_state(const fs::path& path) {
  if (!step_->shards_state()) {
    save_optimizer(path, backend_, step_->optimizer());
    return;
  }
  begin_optimizer_file(path, step_->optimizer());
  write_optimizer_with_others(communicator_.broadcast(fs::absolute(path).string()));
}

void TrainingRun::write_optimizer_with_others(const fs::path& path) {
  write_optimizer_part(path, backend_, step_->optimizer(), communicator_.leads());
  communicator_.barrier();
}

void TrainingRun::publish(const CheckpointInfo& checkpoint) {
  attempt(SideTask::publishing, [&] { prepared_.folder->publish(checkpoint.folder); });
}

void TrainingRun::write_report() const {
  const fs::path& run = prepared_.paths.run;
  ReportInput input;
  input.name = fs::weakly_canonical(run).filename().string();
  input.options = options_;
  input.plan = prepared_.plan;
  input.history = read_metrics(prepared_.paths.metrics());
  input.peak_flops = peak_flops_;
  input.environment = describe_environment();
  write_file(prepared_.paths.report(), render_report(input));
}

}  // namespace mslt
