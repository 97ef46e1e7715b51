// The training loop.
#include "train/training_run.h"

#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "base/fail.h"
#include "train/evaluate.h"
#include "train/slowest_rank.h"

namespace mslt {
namespace {

// Steps between checks of data and run folder, if nothing else happens between steps.
constexpr std::int64_t watch_every = 50;
// Steps between comparisons of the ranks' parameters, besides those before a checkpoint.
constexpr std::int64_t compare_every = 100;

}  // namespace

bool TrainingRun::train() {
  if (state_.step == options_.steps && prepared_.checkpoint) {
    emit(NoteEvent{
        fmt::format("The run has reached step {} already; a larger --steps would continue it.", options_.steps)});
    publish(*prepared_.checkpoint);
    tell_warnings();
  }
  if (prepared_.checkpoint && !prepared_.checkpoint->validation_loss && evaluates_after(state_.step)) {
    attempt(SideTask::evaluation, [&] { evaluate_now(state_.step); });
    tell_warnings();
    mark_ = Clock::now();
  }
  bool interrupted = false;
  while (!callback_failure_ && state_.step < options_.steps && !interrupted) {
    const std::int64_t step = state_.step + 1;
    record_step(step);
    state_.step = step;
    collect(TrainingStep::most_in_flight(dtype_));
    after_step(step);
    interrupted = communicator_.any(stop_requested()) && step < options_.steps;
    const bool ends = interrupted || on_savers(callback_failure_ != nullptr);
    if (ends && !is_saved(step)) save_now(step);
    tell_warnings();
  }
  if (callback_failure_) std::rethrow_exception(callback_failure_);
  return interrupted;
}

TrainResult TrainingRun::run() {
  begin_ = mark_ = Clock::now();
  TrainResult result;
  try {
    result.interrupted = train();
  } catch (const Error& error) {
    if (callback_failure_) throw;
    if (communicator_.failure()) end_with_others(error);
    end_saved(error);
  }
  result.step = state_.step;
  result.loss = last_loss_;
  result.validation = last_evaluation_;
  result.best_validation_loss = state_.best_validation_loss.value_or(std::numeric_limits<double>::quiet_NaN());
  result.seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  if (step_seconds_ > 0.0) {
    result.tokens_per_second = static_cast<double>(tokens_done_) / step_seconds_;
  }
  if (last_saved_) result.checkpoint = last_saved_->folder;
  if (result.interrupted) {
    result.how_to_resume =
        fmt::format("Stopped after step {} of {} and saved {}. Repeat the command with --resume to continue.",
                    result.step, options_.steps, result.checkpoint.string());
  }
  return result;
}

void TrainingRun::record_step(std::int64_t step) {
  loader_->next(tokens_, targets_);
  state_.loader = loader_->state();
  const bool profiles = timed_ && step % options_.profile_every == 0;
  recording_ = true;
  if (profiles) timed_->begin_step();
  pending_.push_back(step_->run({.step = step,
                                 .update = ++state_.updates,
                                 .learning_rate = schedule_.at(step),
                                 .loss_scale = scaler_.scale(),
                                 .tokens = tokens_,
                                 .targets = targets_}));
  own_seconds_ += step_->own_seconds();
  std::optional<StepTimeline> timeline;
  if (profiles) timeline = timed_->end_step();
  recording_ = false;
  if (timeline) profile_step(step, *timeline);
}

void TrainingRun::profile_step(std::int64_t step, const StepTimeline& timeline) {
  attempt(SideTask::metrics, [&] { metrics_->profile(step, timeline, state_.seconds); });
  if (!tensorboard_) return;
  attempt(SideTask::tensorboard, [&] {
    for (const auto& [name, total] : timeline.totals()) {
      tensorboard_->scalar(step, fmt::format("profile/{}_seconds", name), total.seconds);
    }
    tensorboard_->scalar(step, "profile/step_seconds", timeline.seconds);
  });
}

void TrainingRun::collect(std::size_t late) {
  backend_.throttle(late);
  std::vector<std::shared_ptr<const StepResult>> arrived;
  while (!pending_.empty() && pending_.front()->is_complete()) {
    arrived.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
  if (arrived.empty()) return;
  // Results that arrive together share the time since the ones before.
  const Clock::time_point now = Clock::now();
  const double each = std::chrono::duration<double>(now - mark_).count() / static_cast<double>(arrived.size());
  mark_ = now;
  for (const auto& result : arrived) finish_step(*result, each);
}

void TrainingRun::finish_step(const StepResult& result, double step_seconds) {
  StepEvent event;
  event.step = result.step;
  event.steps = options_.steps;
  event.loss = result.loss();
  event.learning_rate = result.learning_rate;
  event.gradient_norm = result.gradient_norm();
  if (!std::isfinite(event.loss)) stop_not_finite(event.step, "loss", event.loss);
  const bool finite = std::isfinite(event.gradient_norm);
  if (dtype_ == DType::f16) {
    // An overflow under the loss scale is part of the method: the weights are as before, and the next scale is lower.
    if (!finite) --state_.updates;
    if (scaler_.update(finite)) stop_not_finite(event.step, "gradient norm", event.gradient_norm);
  } else if (!finite) {
    stop_not_finite(event.step, "gradient norm", event.gradient_norm);
  }
  step_seconds_ += step_seconds;
  compared_seconds_ += step_seconds;
  state_.seconds += step_seconds;
  ++steps_done_;
  tokens_done_ += result.targets;
  last_loss_ = event.loss;
  event.tokens = result.targets;
  event.tokens_per_second = static_cast<double>(event.tokens) / step_seconds;
  event.flops_per_second = event.tokens_per_second * prepared_.plan.flops_per_token;
  event.seconds = seconds();
  event.eta_seconds = event.seconds / static_cast<double>(steps_done_) * static_cast<double>(event.steps - event.step);
  attempt(SideTask::metrics, [&] { metrics_->step(event, state_.seconds); });
  if (tensorboard_) {
    attempt(SideTask::tensorboard, [&] {
      tensorboard_->scalar(event.step, "loss/train", event.loss);
      tensorboard_->scalar(event.step, "learning_rate", event.learning_rate);
      tensorboard_->scalar(event.step, "gradient_norm", event.gradient_norm);
      tensorboard_->scalar(event.step, "tokens_per_second", event.tokens_per_second);
    });
  }
  emit(event);
}

void TrainingRun::stop_not_finite(std::int64_t step, const char* what, double value) const {
  const std::string last =
      last_saved_ ? fmt::format("The checkpoint of step {} in {} is good; continue from it with --resume and",
                                last_saved_->step, last_saved_->folder.string())
                  : std::string("No checkpoint had been saved yet; begin again with");
  fail(ErrorKind::numeric,
       "The {} of step {} is {}: training has diverged and was stopped. {} a lower --lr (it was {:g}), a longer "
       "--warmup "
       "or a smaller --clip.",
       what, step, value, last, schedule_.at(step));
}

bool TrainingRun::stop_requested() const {
  return callbacks_.stop != nullptr && callbacks_.stop->load(std::memory_order_relaxed);
}

void TrainingRun::after_step(std::int64_t step) {
  const bool last = step == options_.steps;
  const auto due = [&](std::int64_t every) {
    return every > 0 && step % every == 0;
  };
  const bool evaluates = evaluates_after(step);
  const bool samples = callbacks_.sample && options_.sample_every > 0 && (last || due(options_.sample_every));
  const bool saves = last || due(options_.save_every);
  const bool works = evaluates || samples || saves;
  if (works) collect(0);
  // The sample first: a signal can cut the evaluation short, and a run that goes on from here begins with it.
  if (samples) attempt(SideTask::sample, [&] { sample_now(step); });
  if (evaluates) attempt(SideTask::evaluation, [&] { evaluate_now(step); });
  // After the evaluation, which can still be made: a run that goes on later from here has it then.
  if (works || due(watch_every)) check_surroundings();
  if (saves || due(compare_every)) require_same_weights(step);
  if (due(watch_every)) compare_times();
  // After a failure, the trained weights are saved first.
  const bool rescues = on_savers(!warnings_.empty());
  if (saves || rescues) save_now(step);
  tell_warnings();
  if (works || rescues) mark_ = Clock::now();
}

void TrainingRun::compare_times() {
  const auto slowest =
      find_slowest_rank(communicator_, std::exchange(own_seconds_, 0.0), std::exchange(compared_seconds_, 0.0));
  if (!slowest) return;
  const std::string name = slowest->substr(0, slowest->find(" takes "));
  if (std::exchange(slowest_, name) != name) emit(NoteEvent{*slowest, true});
}

double TrainingRun::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

}  // namespace mslt
