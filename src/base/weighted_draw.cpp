// Drawing by buckets of weights that share their upper bits.
#include "base/weighted_draw.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

namespace mslt {

// Takes the weight of all others; of equals the first stay.
void WeightedDraw::keep_heaviest(std::size_t count) {
  if (count >= weights_.size()) return;
  ordered_ = weights_;
  const auto last = ordered_.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(ordered_.begin(), last, ordered_.end(), std::greater<>());
  const float bound = *last;
  auto room =
      count - static_cast<std::size_t>(std::ranges::count_if(weights_, [&](float weight) { return weight > bound; }));
  for (float& weight : weights_) {
    if (weight > bound || (weight == bound && room > 0 && room-- > 0)) continue;
    weight = 0.0f;
  }
}

// Weights are told apart by ten bits at a time: floats of one sign are ordered as their bits.
std::size_t WeightedDraw::bucket_of(std::size_t candidate, int shift) const {
  return (std::bit_cast<std::uint32_t>(weights_[candidate]) >> shift) % buckets;
}

// Sets sums_; returns the sum of all weights.
double WeightedDraw::sum_buckets() {
  sums_.fill(0.0);
  for (std::size_t i = 0; i < weights_.size(); ++i) sums_[bucket_of(i, first_shift)] += weights_[i];
  return std::accumulate(sums_.begin(), sums_.end(), 0.0);
}

// The first candidate, in descending order, down to which the weights add up to more than `sum`; the last of any weight
// where none does.
WeightedDraw::Place WeightedDraw::first_above(double sum) const {
  double above = 0.0;
  // The bucket in which the sum is passed, or the last with any weight; `above` is then what stands before it.
  const auto choose = [&](const std::array<double, buckets>& sums) {
    std::size_t chosen = 0;
    double running = above;
    for (std::size_t bucket = buckets; bucket-- > 0 && running <= sum;) {
      if (sums[bucket] == 0.0) continue;
      chosen = bucket;
      above = running;
      running += sums[bucket];
    }
    return chosen;
  };
  std::vector<std::size_t> members;
  const std::size_t first = choose(sums_);
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    if (bucket_of(i, first_shift) == first && weights_[i] > 0.0f) members.push_back(i);
  }
  for (const int shift : {first_shift - bucket_bits, 0}) {
    std::array<double, buckets> sums{};
    for (const std::size_t member : members) sums[bucket_of(member, shift)] += weights_[member];
    const std::size_t chosen = choose(sums);
    std::erase_if(members, [&](std::size_t member) { return bucket_of(member, shift) != chosen; });
  }
  for (const std::size_t member : members) {
    above += weights_[member];
    if (above > sum) return {member, above};
  }
  return {members.back(), above};
}

std::size_t WeightedDraw::draw(std::span<const float> logits, float temperature, const DrawLimits& limits,
                               double share) {
  const float maximum = *std::ranges::max_element(logits);
  const float inverse_temperature = 1.0f / temperature;
  // Weights over the heaviest one's: min_p is then a plain threshold.
  weights_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // Of the largest it is 1 where the quotient is no number, too.
    weights_[i] = logits[i] == maximum ? 1.0f : std::exp((logits[i] - maximum) * inverse_temperature);
  }
  if (limits.top_k > 0) keep_heaviest(static_cast<std::size_t>(limits.top_k));
  double kept = sum_buckets();
  if (limits.top_p < 1.0f) kept = first_above(std::nextafter(limits.top_p * kept, 0.0)).sum;
  if (limits.min_p > 0.0f) {
    for (float& weight : weights_) {
      if (weight < limits.min_p) weight = 0.0f;
    }
    kept = std::min(kept, sum_buckets());
  }
  return first_above(share * kept).candidate;
}

}  // namespace mslt
