// Predicting the time of a training step on another chip from the minimum work of every kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mslt/config.h"
#include "profile/chip.h"
#include "tensor/dtype.h"

namespace mslt {

// The bound of a kernel's time.
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
// backend would on that chip, without memory or a device, and sums over all dispatches
//
//   max(bytes / (bandwidth · bandwidth_share), flops / (flops · arithmetic_share)) + dispatch_seconds
//
// (Williams, Waterman and Patterson, 2009), with the share of arithmetic that inner_loop.h gives the kernel. Bytes
// count every bound tensor once, accumulated ones twice. Throws Error(usage) for sizes outside the model's.
StepPrediction predict_training_step(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len,
                                     const Chip& chip);

}  // namespace mslt
