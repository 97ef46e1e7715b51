// Repetition penalty, temperature, top-k, top-p, min-p, and the draw.
#include "generate/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/fail.h"
#include "base/philox.h"

namespace mslt {
namespace {

constexpr float impossible = -std::numeric_limits<float>::infinity();

}  // namespace

void SamplingOptions::validate() const {
  const auto check = [](bool valid, std::string_view option, double value, std::string_view range) {
    if (!valid) fail(ErrorKind::usage, "--{} is {}; valid is {}.", option, value, range);
  };
  check(temperature >= 0.0f && std::isfinite(temperature), "temperature", temperature,
        "0 (greedy) or any larger number");
  check(top_k >= 0, "top-k", static_cast<double>(top_k), "0 (all tokens) or a larger whole number");
  check(top_p > 0.0f && top_p <= 1.0f, "top-p", top_p, "above 0 and at most 1");
  check(min_p >= 0.0f && min_p <= 1.0f, "min-p", min_p, "from 0 to 1");
  check(repetition_penalty > 0.0f && std::isfinite(repetition_penalty), "repetition-penalty", repetition_penalty,
        "any number above 0 (1 for none)");
}

Sampler::Sampler(const SamplingOptions& options, std::uint32_t sample) : options_(options), sample_(sample) {
  options_.validate();
}

void Sampler::penalize(std::span<float> logits, std::span<const std::int32_t> history) {
  seen_.assign(logits.size(), 0);
  for (const std::int32_t token : history) {
    const auto index = static_cast<std::size_t>(token);
    if (index >= logits.size() || seen_[index] != 0) continue;
    seen_[index] = 1;
    logits[index] *= logits[index] > 0.0f ? 1.0f / options_.repetition_penalty : options_.repetition_penalty;
  }
}

std::int32_t Sampler::draw(Candidates candidates, std::span<const std::int32_t> history) {
  const std::span<float> logits = candidates.logits;
  for (float& logit : logits) {
    if (!std::isfinite(logit)) logit = impossible;
  }
  if (options_.repetition_penalty != 1.0f) penalize(logits, history);
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (largest == logits.end() || *largest == impossible) {
    fail(ErrorKind::numeric, "No token can be drawn: all {} logits are not finite. The model's weights are damaged.",
         logits.size());
  }
  const float maximum = *largest;
  auto drawn = static_cast<std::size_t>(largest - logits.begin());
  if (options_.temperature > 0.0f) {
    const float inverse_temperature = 1.0f / options_.temperature;
    // Probabilities over the most likely one's: min_p is then a plain threshold.
    weights_.resize(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      // Of the largest it is 1 where the quotient is no number, too.
      weights_[i] = logits[i] == maximum ? 1.0f : std::exp((logits[i] - maximum) * inverse_temperature);
    }
    drawn = draw_weighted();
  }
  return candidates.ids.empty() ? static_cast<std::int32_t>(drawn) : candidates.ids[drawn];
}

// Takes the weight of all others; of equals the first stay.
void Sampler::keep_most_likely(std::size_t count) {
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
std::size_t Sampler::bucket_of(std::size_t candidate, int shift) const {
  return (std::bit_cast<std::uint32_t>(weights_[candidate]) >> shift) % buckets;
}

// Sets sums_; returns the sum of all weights.
double Sampler::sum_buckets() {
  sums_.fill(0.0);
  for (std::size_t i = 0; i < weights_.size(); ++i) sums_[bucket_of(i, first_shift)] += weights_[i];
  return std::accumulate(sums_.begin(), sums_.end(), 0.0);
}

// The first candidate, in descending order, down to which the weights add up to more than `sum`; the last of any weight
// where none does.
Sampler::Place Sampler::first_above(double sum) const {
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

// top_k, top_p and min_p each keep a beginning of the descending order.
std::size_t Sampler::draw_weighted() {
  if (options_.top_k > 0) keep_most_likely(static_cast<std::size_t>(options_.top_k));
  double kept = sum_buckets();
  if (options_.top_p < 1.0f) kept = first_above(std::nextafter(options_.top_p * kept, 0.0)).sum;
  if (options_.min_p > 0.0f) {
    for (float& weight : weights_) {
      if (weight < options_.min_p) weight = 0.0f;
    }
    kept = std::min(kept, sum_buckets());
  }
  PhiloxStream stream(options_.seed, draws_++, sample_);
  return first_above(stream.uniform_double() * kept).candidate;
}

}  // namespace mslt
