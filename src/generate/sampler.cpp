// Repetition penalty, temperature, top-k, top-p, min-p, and the draw.
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.h"
#include "base/philox.h"

namespace mslt {
namespace {

bool more_likely(const std::pair<float, std::int32_t>& a, const std::pair<float, std::int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

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

std::int32_t Sampler::draw(std::span<float> logits, std::span<const std::int32_t> history) {
  constexpr float impossible = -std::numeric_limits<float>::infinity();
  for (float& logit : logits) {
    if (!std::isfinite(logit)) logit = impossible;
  }
  if (options_.repetition_penalty != 1.0f) {
    seen_.assign(logits.size(), 0);
    for (const std::int32_t token : history) {
      const auto index = static_cast<std::size_t>(token);
      if (index >= logits.size() || seen_[index] != 0) continue;
      seen_[index] = 1;
      logits[index] *= logits[index] > 0.0f ? 1.0f / options_.repetition_penalty : options_.repetition_penalty;
    }
  }
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (largest == logits.end() || *largest == impossible) {
    fail(ErrorKind::numeric, "No token can be drawn: all {} logits are not finite. The model's weights are damaged.",
         logits.size());
  }
  const std::uint32_t draw_number = draws_++;
  if (options_.temperature == 0.0f) return static_cast<std::int32_t>(largest - logits.begin());

  const float maximum = *largest;
  const float inverse_temperature = 1.0f / options_.temperature;
  // Probabilities over the most likely one's: min_p is then a plain threshold.
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float weight = std::exp((logits[i] - maximum) * inverse_temperature);
    if (weight > 0.0f || logits[i] == maximum) candidates_.emplace_back(weight, static_cast<std::int32_t>(i));
  }
  const auto top_k = static_cast<std::size_t>(options_.top_k);
  if (top_k > 0 && top_k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k - 1, candidates_.end(), more_likely);
    candidates_.resize(top_k);
  }
  std::sort(candidates_.begin(), candidates_.end(), more_likely);
  if (options_.top_p < 1.0f) {
    double total = 0.0;
    for (const auto& candidate : candidates_) total += candidate.first;
    double kept = 0.0;
    std::size_t count = 0;
    while (count < candidates_.size() && kept < options_.top_p * total) kept += candidates_[count++].first;
    candidates_.resize(std::max<std::size_t>(count, 1));
  }
  while (candidates_.size() > 1 && candidates_.back().first < options_.min_p) candidates_.pop_back();

  double total = 0.0;
  for (const auto& candidate : candidates_) total += candidate.first;
  PhiloxStream stream(options_.seed, draw_number, sample_);
  double remaining = stream.uniform_double() * total;
  for (const auto& candidate : candidates_) {
    remaining -= candidate.first;
    if (remaining < 0.0) return candidate.second;
  }
  return candidates_.back().second;
}

}  // namespace mslt
