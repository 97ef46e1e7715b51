// What one of several processes does of each step.
#pragma once

#include <cstdint>

#include "mslt/trainer.h"

namespace mslt {

// A step has batch_size · grad_accum sequences. Each rank takes as many of them, one range after another, in batches
// that lie within one of the step's.
struct Share {
  std::int64_t batch_size = 1;  // sequences of one of this rank's batches
  std::int64_t batches = 1;     // of a step
  std::int64_t first = 0;       // the step's batch that its first one lies in
  bool is_whole = true;         // its batches are whole batches of the step
  std::int64_t rank = 0;
  std::int64_t ranks = 1;

  bool operator==(const Share&) const = default;
};

// Throws Error(usage) naming --batch-size and --grad-accum and what would be valid, where the sequences of a step, or
// with `drops` the batches, cannot be divided: dropout's random numbers belong to whole batches.
Share share_of(const TrainOptions& options, bool drops, std::int64_t rank, std::int64_t ranks);

}  // namespace mslt
