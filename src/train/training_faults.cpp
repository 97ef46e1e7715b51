// What a training run does when something other than the training itself fails: finished steps are not lost.
#include <system_error>

#include "base/fail.h"
#include "train/training_run.h"

namespace mslt {
namespace {

std::string_view name_of_task(std::size_t task) {
  constexpr std::array<std::string_view, 6> names = {
      "The metrics could not be written",        "The events for TensorBoard could not be written",
      "The validation loss could not be found",  "The sample could not be made",
      "The model could not be put in its place", "The report could not be written"};
  return names.at(task);
}

// Whether the weights may be other than the steps made them, or the caller wants the end.
bool ends_the_run(ErrorKind kind) {
  return kind == ErrorKind::numeric || kind == ErrorKind::device || kind == ErrorKind::interrupted;
}

}  // namespace

void TrainingRun::emit(const TrainEvent& event) {
  if (!callbacks_.event || callback_failure_ || !communicator_.leads()) return;
  try {
    callbacks_.event(event);
  } catch (...) {
    callback_failure_ = std::current_exception();
  }
}

void TrainingRun::attempt(SideTask task, const std::function<void()>& work) {
  if (!communicator_.leads()) return;
  const auto index = static_cast<std::size_t>(task);
  std::string problem;
  try {
    work();
    failing_[index] = false;
    return;
  } catch (const Error& error) {
    if (ends_the_run(error.kind())) throw;
    problem = error.what();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  if (!failing_[index]) warnings_.push_back(fmt::format("{}: {}", name_of_task(index), problem));
  failing_[index] = true;
}

void TrainingRun::tell_warnings() {
  const std::string safe =
      is_saved(state_.step) ? fmt::format(" The checkpoint of step {} is saved.", state_.step) : "";
  const std::string next = state_.step < options_.steps ? " Training goes on." : "";
  for (const std::string& warning : warnings_) emit(NoteEvent{warning + safe + next, true});
  warnings_.clear();
}

void TrainingRun::check_surroundings() {
  if (communicator_.leads()) require_run_folder();
  if (const auto change = prepared_.watch->change()) {
    fail(ErrorKind::input,
         "The data folder {} {} during training. Put it back as it was to go on with this run; other data needs a run "
         "of "
         "its own.",
         options_.data.string(), *change);
  }
}

bool TrainingRun::follow_run_folder() {
  const std::filesystem::path before = prepared_.paths.run;
  const auto place = prepared_.folder->whereabouts();
  if (!place) {
    fail(ErrorKind::io,
         "The run folder {} was removed during training, and the checkpoints with it; step {} could not be saved.",
         before.string(), state_.step);
  }
  if (*place == before) return false;
  prepared_.paths.run = *place;
  prepared_.folder->move_to(*place);
  store_.move_to(prepared_.paths.checkpoints());
  if (last_saved_) last_saved_->folder = prepared_.paths.checkpoints() / last_saved_->folder.filename();
  return true;
}

void TrainingRun::require_run_folder() {
  const std::filesystem::path before = prepared_.paths.run;
  if (!follow_run_folder()) return;
  fail(ErrorKind::io, "The run folder {} was moved to {} during training; continue it there, with --output {}.",
       before.string(), prepared_.paths.run.string(), prepared_.paths.run.string());
}

void TrainingRun::end_with_others(const Error& error) const {
  if (!last_saved_) fail(error.kind(), "{} No checkpoint had been saved yet.", error.what());
  fail(error.kind(), "{} The checkpoint of step {} in {} is good; continue from it with --resume.", error.what(),
       last_saved_->step, last_saved_->folder.string());
}

void TrainingRun::end_saved(const Error& error) {
  const bool sound =
      error.kind() == ErrorKind::io || error.kind() == ErrorKind::input || error.kind() == ErrorKind::usage;
  if (!sound || recording_ || !communicator_.leads()) throw;
  // The others are elsewhere.
  if (step_->shards_state()) throw;
  // A checkpoint that could not be saved is not tried again, unless its folder went away meanwhile.
  if (saving_ && !follow_run_folder()) throw;
  saving_ = false;
  if (state_.step > first_step_ && !is_saved(state_.step)) {
    if (!prepared_.folder->whereabouts()) throw;
    try {
      save_now(state_.step);
      tell_warnings();
    } catch (const Error& second) {
      fail(error.kind(), "{} {}", error.what(), second.what());
    }
  }
  if (!last_saved_) throw;
  fail(error.kind(), "{} The checkpoint of step {} is saved in {}; continue from it with --resume.", error.what(),
       last_saved_->step, last_saved_->folder.string());
}

}  // namespace mslt
