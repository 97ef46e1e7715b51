// What holds memory while a step runs.
#pragma once

#include <string>
#include <vector>

#include "backend/timeline.h"

namespace mslt {

// Bytes that each holder has in use while each operation runs. Buffers other than activations are in use as a whole,
// all the time, and hold under their own labels. Bytes of activations are in use from the operation that writes them to
// the last one that reads that; they are held by the operation that wrote them.
struct MemoryCurve {
  std::vector<std::string> holders;        // the largest first
  std::vector<double> times;               // when each operation begins
  std::vector<std::vector<double>> bytes;  // of each holder, at each time
  double most() const;                     // of all holders together
};

// Bytes that were written before the step count from its beginning. Of more than `most_holders`, the smallest are one:
// "others".
MemoryCurve memory_curve(const StepTimeline& step, std::size_t most_holders = 7);

}  // namespace mslt
