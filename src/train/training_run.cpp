// The training loop.
#include "train/training_run.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "base/fail.h"
#include "train/evaluate.h"

namespace mslt {
namespace {

// How many steps a result may be late: enough that an asynchronous device never idles.
constexpr std::size_t readback_steps = 2;
// How often data and run folder are looked at where nothing else happens between steps.
constexpr std::int64_t watch_every = 50;

float load_float(std::span<const std::byte> bytes) {
  float value = 0.0f;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <class T>
void upload_scalar(Backend& backend, const Tensor& tensor, const T& value) {
  backend.upload(tensor, std::as_bytes(std::span(&value, 1)));
}

}  // namespace

bool TrainingRun::train() {
  if (state_.step == options_.steps && prepared_.checkpoint) {
    emit(NoteEvent{
        fmt::format("The run has reached step {} already; a larger --steps would continue it.", options_.steps)});
    publish(prepared_.checkpoint->folder);
    tell_warnings();
  }
  bool interrupted = false;
  while (!callback_failure_ && state_.step < options_.steps && !interrupted) {
    const std::int64_t step = state_.step + 1;
    record_step(step);
    state_.step = step;
    // A scale that adapts to each gradient needs its norm before the next step.
    collect(dtype_ == DType::f16 ? 0 : readback_steps);
    interrupted = stop_requested() && step < options_.steps;
    after_step(step);
    if ((interrupted || callback_failure_) && !is_saved(step)) save_now(step);
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

// Loads all batches of a step, so that the loss can be a mean over the step's targets; returns how many there are.
std::int64_t TrainingRun::load_batches() {
  const auto count = static_cast<std::size_t>(options_.batch_size * options_.seq_len);
  std::int64_t valid = 0;
  for (std::size_t micro = 0; micro < static_cast<std::size_t>(options_.grad_accum); ++micro) {
    const std::span targets = std::span(targets_).subspan(micro * count, count);
    loader_->next(std::span(tokens_).subspan(micro * count, count), targets);
    for (const std::int32_t target : targets) valid += target >= 0 ? 1 : 0;
  }
  state_.loader = loader_->state();
  return valid;
}

void TrainingRun::record_step(std::int64_t step) {
  const auto count = static_cast<std::size_t>(options_.batch_size * options_.seq_len);
  const auto result = std::make_shared<Pending>();
  result->step = step;
  result->targets = load_batches();
  recording_ = true;
  result->learning_rate = schedule_.at(step);
  result->gradient_scale = 1.0 / scaler_.scale();
  backend_.run(Fill{.out = loss_sum_, .value = 0.0f});
  upload_scalar(backend_, loss_scale_, static_cast<float>(scaler_.scale() / static_cast<double>(result->targets)));
  pass_->zero_gradients();
  for (std::int64_t micro = 0; micro < options_.grad_accum; ++micro) {
    const auto first = static_cast<std::size_t>(micro) * count;
    pass_->set_batch(std::span(tokens_).subspan(first, count), std::span(targets_).subspan(first, count));
    if (random_state_) {
      const auto pass_number = static_cast<std::uint32_t>((step - 1) * options_.grad_accum + micro);
      const std::array<std::uint32_t, 4> random = {static_cast<std::uint32_t>(options_.seed),
                                                   static_cast<std::uint32_t>(options_.seed >> 32), pass_number, 0};
      upload_scalar(backend_, random_state_, random);
    }
    pass_->forward_backward(loss_sum_, loss_scale_, random_state_);
  }
  optimizer_->step(pass_->gradients(), ++state_.updates, result->learning_rate,
                   static_cast<float>(result->gradient_scale), static_cast<float>(options_.clip));
  pending_.push_back(result);
  backend_.read_back(loss_sum_, [result](std::span<const std::byte> bytes) {
    result->loss_sum = load_float(bytes);
    ++result->arrived;
  });
  backend_.read_back(optimizer_->norm(), [result](std::span<const std::byte> bytes) {
    result->norm = load_float(bytes);
    ++result->arrived;
  });
  backend_.submit();
  recording_ = false;
}

void TrainingRun::collect(std::size_t late) {
  constexpr int parts = 2;
  backend_.throttle(late);
  std::vector<std::shared_ptr<Pending>> arrived;
  while (!pending_.empty() && pending_.front()->arrived == parts) {
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

void TrainingRun::finish_step(const Pending& result, double step_seconds) {
  StepEvent event;
  event.step = result.step;
  event.steps = options_.steps;
  event.loss = static_cast<double>(result.loss_sum) / static_cast<double>(result.targets);
  event.learning_rate = result.learning_rate;
  event.gradient_norm = static_cast<double>(result.norm) * result.gradient_scale;
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
  const bool evaluates = prepared_.val_tokens && (last || due(options_.eval_every));
  const bool samples = callbacks_.sample && options_.sample_every > 0 && (last || due(options_.sample_every));
  const bool saves = last || due(options_.save_every);
  const bool works = evaluates || samples || saves;
  if (works) collect(0);
  if (evaluates) attempt(SideTask::evaluation, [&] { evaluate_now(step, last); });
  if (samples) attempt(SideTask::sample, [&] { sample_now(step); });
  // After the evaluation, which can still be made: a run that goes on later from here has it then.
  if (works || due(watch_every)) check_surroundings();
  // Where something failed, what was trained so far is brought into safety first.
  const bool rescues = !warnings_.empty();
  if (saves || rescues) save_now(step);
  tell_warnings();
  if (works || rescues) mark_ = Clock::now();
}

double TrainingRun::seconds() const {
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

}  // namespace mslt
