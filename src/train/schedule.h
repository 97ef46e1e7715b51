// The learning rate as a function of the step.
#pragma once

#include <cstdint>

#include "mslt/trainer.h"

namespace mslt {

// With k = step - 1, W = warmup, N = steps, r = min_ratio:
//   k < W:     rate · (k + 1) / W
//   cosine:    rate · (r + (1 - r) · (1 + cos(π p)) / 2),  p = (k - W) / (N - W)     (Loshchilov & Hutter, 2017)
//   linear:    rate · (r + (1 - r) · (1 - p))
//   constant:  rate
//   wsd:       rate up to k = N - D, then rate · (r + (1 - r) · (1 - q)), q = (k - (N - D)) / D,
//              with D = round(decay_fraction · N), 1 at least       (warmup, stable, decay; Hu et al., 2024)
// Steps past N stay at what step N + 1 would have: rate · r (rate for constant). A value type.
struct LearningRate {
  Schedule schedule = Schedule::cosine;
  double rate = 1e-3;
  double min_ratio = 0.1;
  std::int64_t steps = 1;
  std::int64_t warmup = 0;
  double decay_fraction = 0.2;

  // The rate for `step`, which counts from 1.
  double at(std::int64_t step) const;
  // Steps of wsd's decay.
  std::int64_t decay_steps() const;
  // Throws Error(usage) listing what is impossible: a rate that is not positive and finite, a ratio outside [0, 1],
  // a warmup that is negative or leaves no step, a warmup and a decay that overlap.
  void validate() const;
};

}  // namespace mslt
