// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mslt/generator.h"

namespace mslt {

// Draws tokens for one sample. The n-th draw uses Philox at (seed, step n, operation `sample`): it depends on nothing
// that other samples do. One thread at a time.
class Sampler {
 public:
  // Validates the options.
  Sampler(const SamplingOptions& options, std::uint32_t sample);

  // The next token, given logits [V] (overwritten) and every token so far, prompt included, for the repetition penalty.
  // Logits that are not finite count as impossible; throws Error(numeric) where none is possible.
  std::int32_t draw(std::span<float> logits, std::span<const std::int32_t> history);

 private:
  SamplingOptions options_;
  std::uint32_t sample_;
  std::uint32_t draws_ = 0;
  std::vector<std::pair<float, std::int32_t>> candidates_;
  std::vector<std::uint8_t> seen_;
};

}  // namespace mslt
