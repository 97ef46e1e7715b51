// Drawing one of many by weight, from the heaviest ones alone if wanted, without sorting them.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/parallel.h"

namespace mslt {

// What stands for a logit that cannot be drawn.
inline constexpr float impossible_logit = -std::numeric_limits<float>::infinity();

// Which of the heaviest can be drawn; each keeps a beginning of the descending order.
struct DrawLimits {
  std::int64_t top_k = 0;  // so many; 0: all
  float top_p = 1.0f;      // as few as have this share of the weight of those that top_k keeps
  float min_p = 0.0f;      // those with this share of the heaviest one's weight
};

// Keeps its memory from one draw to the next. One thread at a time; it shares the work of many candidates with others.
class WeightedDraw {
 public:
  // Draws by weights exp(logit / temperature): the candidate at `share`, in [0, 1), of the cumulative weight, from the
  // heaviest on; of equals from the first on. `logits` has no NaN and becomes the weights; `largest` is the largest of
  // them, and not `impossible_logit`. Temperature is above 0.
  std::size_t draw(std::span<float> logits, float largest, float temperature, const DrawLimits& limits, double share);

 private:
  // A candidate, and the sum of weights of those down to it, the heaviest first.
  struct Place {
    std::size_t candidate = 0;
    double sum = 0.0;
  };

  static constexpr int bucket_bits = 10;
  static constexpr std::size_t buckets = std::size_t{1} << bucket_bits;
  static constexpr int first_shift = 2 * bucket_bits;
  static constexpr std::size_t tables = 4;
  static constexpr std::size_t most_segments = 4;
  using Sums = std::array<double, buckets>;

  // A part of the candidates that a thread takes, and what it finds there.
  struct Segment {
    std::span<float> weights;
    std::size_t first = 0;
    // Of the weights alike in all but their last bits; while they are added, each table those of every fourth
    // candidate: neighbours are often alike, and their additions need not wait for each other.
    std::array<Sums, tables> sums{};
    std::vector<std::size_t> members;
  };

  void divide(std::span<float> weights);
  template <class Body>
  void for_segments(const Cost& each, const Body& body);
  void keep_heaviest(std::size_t count);
  // Weights are told apart by ten bits at a time: floats of one sign are ordered as their bits.
  static std::size_t bucket_of(float weight, int shift) {
    return (std::bit_cast<std::uint32_t>(weight) >> shift) % buckets;
  }
  double sum_buckets();
  Place first_above(double sum);

  std::span<float> weights_;  // over that of the heaviest candidate; 0 for what cannot be drawn
  std::vector<float> ordered_;
  std::vector<Segment> segments_;  // their number depends on that of the candidates alone, and so does every sum
};

}  // namespace mslt
