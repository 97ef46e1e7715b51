// What a training run looks at between steps: the validation loss and samples.
#include <cmath>

#include "train/evaluate.h"
#include "train/training_run.h"

namespace mslt {

bool TrainingRun::evaluates_after(std::int64_t step) const {
  const bool due = options_.eval_every > 0 && step % options_.eval_every == 0;
  return prepared_.val_tokens != nullptr && (step == options_.steps || due);
}

void TrainingRun::evaluate_now(std::int64_t step) {
  EvaluateOptions options;
  options.data = options_.data;
  options.tokens = prepared_.val_tokens;
  options.batch = prepared_.share.batch_size;
  options.seq_len = options_.seq_len;
  options.max_batches = options_.eval_batches * (options_.batch_size / prepared_.share.batch_size);
  options.stop = callbacks_.stop;
  options.progress = [&](std::int64_t done, std::int64_t batches) {
    emit(EvaluationProgressEvent{step, done, batches});
  };
  const EvaluationResult result = evaluate(backend_, step_->pass(), options, bytes_of_token_);
  if (result.stopped) return;
  if (!std::isfinite(result.loss)) stop_not_finite(step, "validation loss after the update", result.loss);
  EvaluationEvent event{step, result.loss, result.perplexity, result.bits_per_byte, false};
  event.best = !state_.best_validation_loss || result.loss < *state_.best_validation_loss;
  if (event.best) state_.best_validation_loss = result.loss;
  last_evaluation_ = event;
  attempt(SideTask::metrics, [&] { metrics_->evaluation(event, state_.seconds); });
  if (tensorboard_) {
    attempt(SideTask::tensorboard, [&] {
      tensorboard_->scalar(step, "loss/validation", event.loss);
      tensorboard_->scalar(step, "bits_per_byte/validation", event.bits_per_byte);
    });
  }
  emit(event);
}

void TrainingRun::sample_now(std::int64_t step) {
  const SampleEvent event{step, callbacks_.sample(*model_, step)};
  attempt(SideTask::metrics, [&] { metrics_->sample(event, state_.seconds); });
  if (tensorboard_) attempt(SideTask::tensorboard, [&] { tensorboard_->text(step, "sample", event.text); });
  emit(event);
}

}  // namespace mslt
