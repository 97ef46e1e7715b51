// From marks to times of the host's clock.
#include "backend/msl/command_times.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"

namespace mslt::msl {

std::vector<KernelTime> command_times(std::span<const TimedBatch> batches, const std::vector<double>* marks) {
  std::vector<KernelTime> times;
  // What is to be added to the device's clock.
  double difference = std::numeric_limits<double>::infinity();
  double end = -std::numeric_limits<double>::infinity();
  std::size_t mark = 0;
  const auto next_mark = [&] {
    if (mark == marks->size()) {
      fail(ErrorKind::device, "The device kept the times of {} commands, and the step has more: too many to time them.",
           marks->size());
    }
    return marks->at(mark++);
  };
  for (const TimedBatch& batch : batches) {
    double begin = marks != nullptr ? next_mark() : batch.timing.gpu_start;
    for (const CommandNote& note : batch.notes) {
      begin = std::max(begin, end);
      end = std::max(begin, marks != nullptr ? next_mark() : batch.timing.gpu_end);
      if (!note.kernel.empty()) times.push_back({note.kernel, note.work, end - begin, begin, note.operation});
      begin = end;
    }
    if (!batch.notes.empty()) difference = std::min(difference, batch.seen - end);
  }
  for (KernelTime& time : times) time.begin += difference;
  return times;
}

}  // namespace mslt::msl
