// When a device did each command, by its marks or by the times of its command buffers.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/driver.h"

namespace mslt::msl {

// One dispatch, copy, fill or library call.
struct CommandNote {
  std::string kernel;  // empty for the copies of uploads and read-backs
  Work work;
  std::size_t operation = KernelTime::no_operation;
};

// A command buffer that is done. It has a mark at its beginning and one behind each command or, on a device without
// marks, one command.
struct TimedBatch {
  std::vector<CommandNote> notes;
  CommandTiming timing;
  double seen = 0.0;  // when its end was known to the host, by the host's steady clock
};

// The times of the commands that have a name, in order, none beside another. `marks` are those of all batches; null for
// a device without. The device's clock is set by the batch whose end was seen the soonest: no command seems to have
// begun before it was handed over, or to have ended after the host knew. Throws Error(device) if marks are missing.
std::vector<KernelTime> command_times(std::span<const TimedBatch> batches, const std::vector<double>* marks);

}  // namespace mslt::msl
