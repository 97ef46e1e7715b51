// Keeping when commands ran.
#include <utility>

#include "backend/msl/recorder.h"

namespace mslt::msl {

void Recorder::begin_times() {
  wait();
  device_.take_marks();
  timed_.clear();
  operations_ = 0;
  timing_ = true;
}

std::vector<KernelTime> Recorder::end_times() {
  try {
    wait();
  } catch (...) {
    timing_ = false;
    throw;
  }
  const std::vector<double> marks = device_.take_marks();
  if (!std::exchange(timing_, false)) return {};
  return command_times(std::exchange(timed_, {}), device_.has_marks() ? &marks : nullptr);
}

void Recorder::as_operation(const std::function<void()>& run) {
  RecordedCommands* const recorded = recorded_.get();
  operation_ = (recorded != nullptr ? recorded->operations : operations_)++;
  try {
    run();
  } catch (...) {
    operation_ = KernelTime::no_operation;
    throw;
  }
  operation_ = KernelTime::no_operation;
}

}  // namespace mslt::msl
