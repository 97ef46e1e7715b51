// Choosing the next token from logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/weighted_draw.h"
#include "mslt/generator.h"

namespace mslt {

// What one draw chooses among.
struct Candidates {
  std::span<float> logits;                 // overwritten by the draw
  std::span<const std::int32_t> ids = {};  // their ids, by descending logit; empty: ids 0, 1, and so on
};

// Draws tokens for one sample. The n-th draw uses Philox at (seed, step n, operation `sample`), so it does not depend
// on other samples. It takes the token at a random share of the cumulative probability, from the most likely token on
// (of equals, from the smaller id on), without sorting. One thread at a time.
class Sampler {
 public:
  // Validates the options.
  Sampler(const SamplingOptions& options, std::uint32_t sample);

  // The next token. `history` holds every token so far, prompt included, for the repetition penalty, which needs the
  // logits of all ids. Logits that are not finite count as impossible; throws Error(numeric) if none is possible.
  std::int32_t draw(Candidates candidates, std::span<const std::int32_t> history);

  const SamplingOptions& options() const { return options_; }
  std::uint32_t sample() const { return sample_; }
  // How many draws there were; a device that draws goes on from there, and says when it has drawn another.
  std::uint32_t draws() const { return draws_; }
  void count_draw() { draws_ += options_.temperature > 0.0f ? 1 : 0; }

 private:
  void penalize(std::span<float> logits, std::span<const std::int32_t> history);

  SamplingOptions options_;
  std::uint32_t sample_;
  std::uint32_t draws_ = 0;
  WeightedDraw draw_;
  std::vector<std::uint8_t> seen_;
};

}  // namespace mslt
