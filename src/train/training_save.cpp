// What a training run does between steps: evaluations, samples, checkpoints, the published model, the report.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <system_error>

#include "base/fail.h"
#include "base/file.h"
#include "formats/model_folder.h"
#include "train/evaluate.h"
#include "train/report.h"
#include "train/training_run.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

// The files of a model folder, the one that makes it a model last.
constexpr std::array<const char*, 5> model_files = {"model.safetensors", "tokenizer.json", "tokenizer_config.json",
                                                    "generation_config.json", "config.json"};

// Makes `to` the same file as `from`, at once. Weights are shared by a hard link where the file system has them; small
// files are copied, so that editing one does not damage the checkpoint.
void publish_file(const fs::path& from, const fs::path& to, bool share) {
  const fs::path temporary = to.string() + ".new";
  std::error_code error;
  fs::remove(temporary, error);
  error = std::make_error_code(std::errc::not_supported);
  if (share) fs::create_hard_link(from, temporary, error);
  if (error) fs::copy_file(from, temporary, fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(temporary, to, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(temporary, ignored);
  fail(ErrorKind::io, "Cannot write {}: {}. The checkpoint {} is complete.", to.string(), error.message(),
       from.parent_path().string());
}

}  // namespace

void TrainingRun::evaluate_now(std::int64_t step, bool whole) {
  EvaluateOptions options;
  options.data = options_.data;
  options.batch = options_.batch_size;
  options.seq_len = options_.seq_len;
  options.max_batches = whole ? 0 : options_.eval_batches;
  const EvaluationResult result = evaluate(backend_, *pass_, options, bytes_of_token_);
  if (!std::isfinite(result.loss)) stop_not_finite(step, "validation loss after the update", result.loss);
  EvaluationEvent event{step, result.loss, result.perplexity, result.bits_per_byte, false};
  event.best = !state_.best_validation_loss || result.loss < *state_.best_validation_loss;
  if (event.best) state_.best_validation_loss = result.loss;
  last_evaluation_ = event;
  metrics_->evaluation(event, state_.seconds);
  if (tensorboard_) {
    tensorboard_->scalar(step, "loss/validation", event.loss);
    tensorboard_->scalar(step, "bits_per_byte/validation", event.bits_per_byte);
  }
  emit(event);
}

void TrainingRun::sample_now(std::int64_t step) {
  const SampleEvent event{step, callbacks_.sample(*transformer_, step)};
  metrics_->sample(event, state_.seconds);
  if (tensorboard_) tensorboard_->text(step, "sample", event.text);
  emit(event);
}

// A step whose loss was finite may still have ruined the weights; such weights never replace a good checkpoint.
void TrainingRun::require_finite_weights(std::int64_t step) {
  float norm = 0.0f;
  backend_.global_norm(weight_norm_, transformer_->parameters().whole(), false);
  backend_.download(weight_norm_, std::as_writable_bytes(std::span(&norm, 1)));
  if (!std::isfinite(norm)) stop_not_finite(step, "norm of the weights after the update", norm);
}

void TrainingRun::save_now(std::int64_t step) {
  collect(0);
  backend_.wait();
  require_finite_weights(step);
  const Clock::time_point begin = Clock::now();
  metrics_->sync();
  state_.metrics_bytes = metrics_->bytes();
  state_.loss_scale = scaler_.scale();
  state_.good_updates = scaler_.good_updates();
  std::optional<double> validation_loss;
  if (last_evaluation_ && last_evaluation_->step == step) validation_loss = last_evaluation_->loss;
  last_saved_ = store_.save(step, validation_loss, options_.keep_checkpoints, [&](const fs::path& folder) {
    save_model_folder(folder, *transformer_, prepared_.tokenizer.get());
    save_optimizer(folder / "optimizer.safetensors", backend_, *optimizer_);
    save_run_state(folder / "state.json", state_);
  });
  publish(last_saved_->folder);
  write_report();
  emit(SaveEvent{step, last_saved_->folder, std::chrono::duration<double>(Clock::now() - begin).count()});
}

void TrainingRun::publish(const fs::path& checkpoint) const {
  for (const char* name : model_files) {
    if (!fs::exists(checkpoint / name)) continue;
    publish_file(checkpoint / name, prepared_.paths.run / name, std::string_view(name) == "model.safetensors");
  }
  sync_folder(prepared_.paths.run);
}

void TrainingRun::write_report() const {
  if (!options_.report) return;
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
