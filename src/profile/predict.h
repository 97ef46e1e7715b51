// Predicting the time of a training step on a chip that is not there, from what every kernel has to do at least.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mslt/config.h"
#include "profile/chip.h"
#include "tensor/dtype.h"

namespace mslt {

// What sets the time of a kernel.
enum class Bound : std::uint8_t { memory, arithmetic, dispatch };
std::string_view name_of(Bound bound);

// All dispatches of one kernel in a step.
struct KernelPrediction {
  std::string kernel;  // its host name; copies and fills are "copy" and "fill"
  std::int64_t dispatches = 0;
  double bytes = 0.0;
  double flops = 0.0;
  double seconds = 0.0;
  Bound bound = Bound::memory;  // of most of that time
};

struct StepPrediction {
  std::vector<KernelPrediction> kernels;  // longest first
  std::int64_t dispatches = 0;
  double bytes = 0.0;
  double flops = 0.0;
  double seconds = 0.0;
  double tokens_per_second = 0.0;
};

// Records one training step (forward, backward, norm of the gradients, AdamW) of batch · seq_len tokens as the MSL
// backend would on that chip, without memory or a device, and adds up for every dispatch
//
//   max(bytes / (bandwidth · bandwidth_share), flops / (flops · arithmetic_share)) + dispatch_seconds
//
// (Williams, Waterman and Patterson, 2009), with the share that inner_loop.h gives the kernel. Bytes count every bound
// tensor once, those that are added to twice. Throws Error(usage) for sizes that the model does not have.
StepPrediction predict_training_step(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len,
                                     const Chip& chip);

}  // namespace mslt
