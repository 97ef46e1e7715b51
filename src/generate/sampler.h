// Choosing the next token from logits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

 private:
  // A candidate, and the sum of weights of those down to it, the most likely first.
  struct Place {
    std::size_t candidate = 0;
    double sum = 0.0;
  };

  static constexpr int bucket_bits = 10;
  static constexpr std::size_t buckets = std::size_t{1} << bucket_bits;
  static constexpr int first_shift = 2 * bucket_bits;

  void penalize(std::span<float> logits, std::span<const std::int32_t> history);
  void keep_most_likely(std::size_t count);
  std::size_t bucket_of(std::size_t candidate, int shift) const;
  double sum_buckets();
  Place first_above(double sum) const;
  std::size_t draw_weighted();

  SamplingOptions options_;
  std::uint32_t sample_;
  std::uint32_t draws_ = 0;
  std::vector<float> weights_;  // probabilities over that of the most likely candidate; 0 for what cannot be drawn
  std::vector<float> ordered_;
  std::array<double, buckets> sums_{};  // of the weights alike in all but their last bits
  std::vector<std::uint8_t> seen_;
};

}  // namespace mslt
