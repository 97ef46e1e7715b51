// Repetition penalty, temperature, top-k, top-p, min-p, and the draw.
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/philox.h"

namespace mslt {
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
    if (!std::isfinite(logit)) logit = impossible_logit;
  }
  if (options_.repetition_penalty != 1.0f) penalize(logits, history);
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (largest == logits.end() || *largest == impossible_logit) {
    fail(ErrorKind::numeric, "No token can be drawn: all {} logits are not finite. The model's weights are damaged.",
         logits.size());
  }
  auto drawn = static_cast<std::size_t>(largest - logits.begin());
  if (options_.temperature > 0.0f) {
    PhiloxStream stream(options_.seed, draws_++, sample_);
    drawn = draw_.draw(logits, *largest, options_.temperature,
                       {.top_k = options_.top_k, .top_p = options_.top_p, .min_p = options_.min_p},
                       stream.uniform_double());
  }
  return candidates.ids.empty() ? static_cast<std::int32_t>(drawn) : candidates.ids[drawn];
}

}  // namespace mslt
