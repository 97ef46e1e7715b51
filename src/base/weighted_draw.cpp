// Drawing by buckets of weights that share their upper bits.
#include "base/weighted_draw.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <numeric>

namespace mslt {
namespace {

// All bits where the condition holds, or none: compilers compute several at once where nothing branches and no
// comparison of floats might trap.
std::uint32_t mask(bool condition) {
  return condition ? ~std::uint32_t{0} : 0;
}

// The same of -0 and 0.
std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value + 0.0f);
}

// 2^x for x up to 0, within 3 ulp; 0 below 2^-126 and where x is NaN. x = k + f with integer k and |f| <= 1/2; 2^f is
// its series, without terms below 2 ulp; k goes into the exponent.
float power_of_two(float x) {
  constexpr auto least = std::bit_cast<std::uint32_t>(126.0f);
  constexpr auto all_but_sign = ~std::uint32_t{0} >> 1;
  constexpr float to_integer = 12582912.0f;  // 1.5 · 2^23: what is added to it keeps no fraction
  constexpr int mantissa_bits = 23;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t possible = mask((bits & all_but_sign) < least);
  const auto inside = std::bit_cast<float>(bits & possible);
  const float shifted = inside + to_integer;
  const float f = inside - (shifted - to_integer);
  float p = 1.54035304e-4f;
  p = p * f + 1.33335581e-3f;
  p = p * f + 9.61812911e-3f;
  p = p * f + 5.55041087e-2f;
  p = p * f + 0.240226507f;
  p = p * f + 0.693147181f;
  p = p * f + 1.0f;
  const std::uint32_t power =
      std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << mantissa_bits);
  return std::bit_cast<float>(power & possible);
}

}  // namespace

// Segments of several thousand candidates, which pay for a thread.
void WeightedDraw::divide(std::span<float> weights) {
  constexpr std::size_t least = 8192;
  weights_ = weights;
  segments_.resize(std::clamp<std::size_t>(weights.size() / least, 1, most_segments));
  const std::size_t length = (weights.size() + segments_.size() - 1) / segments_.size();
  std::size_t first = 0;
  for (Segment& segment : segments_) {
    segment.first = first;
    segment.weights = weights.subspan(first, std::min(length, weights.size() - first));
    first += segment.weights.size();
  }
}

// Calls body(segment) for each of them; `each` is what a candidate costs.
template <class Body>
void WeightedDraw::for_segments(const Cost& each, const Body& body) {
  const auto length = static_cast<std::int64_t>(segments_.front().weights.size());
  parallel_for(static_cast<std::int64_t>(segments_.size()), each * length,
               [&](std::int64_t s) { body(segments_[static_cast<std::size_t>(s)]); });
}

// Takes the weight of all others; of equals the first stay.
void WeightedDraw::keep_heaviest(std::size_t count) {
  if (count >= weights_.size()) return;
  ordered_.assign(weights_.begin(), weights_.end());
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

// Sets the first table of the first segment; returns the sum of all weights.
double WeightedDraw::sum_buckets() {
  for_segments({.flops = 24}, [](Segment& segment) {
    const std::span<const float> weights = segment.weights;
    for (Sums& table : segment.sums) table.fill(0.0);
    std::size_t i = 0;
    for (; i + tables <= weights.size(); i += tables) {
      for (std::size_t table = 0; table < tables; ++table) {
        segment.sums[table][bucket_of(weights[i + table], first_shift)] += weights[i + table];
      }
    }
    for (; i < weights.size(); ++i) segment.sums[0][bucket_of(weights[i], first_shift)] += weights[i];
    for (std::size_t table = 1; table < tables; ++table) {
      for (std::size_t at = 0; at < buckets; ++at) segment.sums[0][at] += segment.sums[table][at];
    }
  });
  Sums& all = segments_.front().sums[0];
  for (std::size_t s = 1; s < segments_.size(); ++s) {
    for (std::size_t at = 0; at < buckets; ++at) all[at] += segments_[s].sums[0][at];
  }
  return std::accumulate(all.begin(), all.end(), 0.0);
}

// The first candidate, in descending order, down to which the weights add up to more than `sum`; the last of any weight
// where none does.
WeightedDraw::Place WeightedDraw::first_above(double sum) {
  double above = 0.0;
  // The bucket in which the sum is passed, or the last with any weight; `above` is then what stands before it.
  const auto choose = [&](const Sums& sums) {
    std::size_t chosen = 0;
    double running = above;
    for (std::size_t at = buckets; at-- > 0 && running <= sum;) {
      if (sums[at] == 0.0) continue;
      chosen = at;
      above = running;
      running += sums[at];
    }
    return chosen;
  };
  const std::size_t first = choose(segments_.front().sums[0]);
  for_segments({.flops = 16}, [first](Segment& segment) {
    const std::span<const float> weights = segment.weights;
    segment.members.clear();
    // Whether a candidate is one cannot be foreseen, so nothing branches on it.
    std::array<std::size_t, 256> some;
    for (std::size_t begin = 0; begin < weights.size(); begin += some.size()) {
      const std::size_t end = std::min(begin + some.size(), weights.size());
      std::size_t count = 0;
      for (std::size_t i = begin; i < end; ++i) {
        some[count] = segment.first + i;
        count += static_cast<std::size_t>(bucket_of(weights[i], first_shift) == first) &
                 static_cast<std::size_t>(weights[i] > 0.0f);
      }
      segment.members.insert(segment.members.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
    }
  });
  std::vector<std::size_t>& members = segments_.front().members;
  for (std::size_t s = 1; s < segments_.size(); ++s) {
    members.insert(members.end(), segments_[s].members.begin(), segments_[s].members.end());
  }
  for (const int shift : {first_shift - bucket_bits, 0}) {
    Sums sums{};
    for (const std::size_t member : members) sums[bucket_of(weights_[member], shift)] += weights_[member];
    const std::size_t chosen = choose(sums);
    std::erase_if(members, [&](std::size_t member) { return bucket_of(weights_[member], shift) != chosen; });
  }
  for (const std::size_t member : members) {
    above += weights_[member];
    if (above > sum) return {member, above};
  }
  return {members.back(), above};
}

std::size_t WeightedDraw::draw(std::span<float> logits, float largest, float temperature, const DrawLimits& limits,
                               double share) {
  divide(logits);
  const float factor = std::numbers::log2e_v<float> / temperature;
  for_segments({.flops = 32}, [=](Segment& segment) {
    // Weights over the heaviest one's: min_p is then a plain threshold.
    const auto one = std::bit_cast<std::uint32_t>(1.0f);
    for (float& logit : segment.weights) {
      // Of the largest it is 1 where the product is no number, too.
      const std::uint32_t heaviest = mask(bits_of(logit) == bits_of(largest));
      const auto weight = std::bit_cast<std::uint32_t>(power_of_two((logit - largest) * factor));
      logit = std::bit_cast<float>((weight & ~heaviest) | (one & heaviest));
    }
  });
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
