// Fitting llama3's blend of two frequencies to its divisors.
#include "formats/gguf_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace mslt {
namespace {

bool alike(double a, double b) {
  return std::abs(a - b) <= 1e-4 * std::abs(b);
}

// Frequency i in turns per position.
double turns(std::size_t i, std::size_t count, double theta) {
  return std::pow(theta, -static_cast<double>(i) / static_cast<double>(count)) / (2.0 * std::numbers::pi);
}

// The share that is kept of frequency i is (original · turns - low) / (high - low), within [0, 1].
double divisor(const RopeScaling& scaling, double turns) {
  const double share = (static_cast<double>(scaling.original_max_positions) * turns - scaling.low_freq_factor) /
                       (scaling.high_freq_factor - scaling.low_freq_factor);
  const double kept = std::clamp(share, 0.0, 1.0);
  return 1.0 / ((1.0 - kept) / scaling.factor + kept);
}

}  // namespace

std::optional<RopeScaling> scaling_from_divisors(std::span<const float> divisors, double theta) {
  if (divisors.empty()) return std::nullopt;
  const auto [least, largest] = std::ranges::minmax(divisors);
  if (!(least >= 1.0f) || !std::isfinite(largest)) return std::nullopt;
  const double factor = largest;
  if (alike(least, factor)) {
    if (alike(factor, 1.0)) return RopeScaling{};
    return RopeScaling{.type = RopeScalingType::linear, .factor = factor};
  }
  RopeScaling scaling{.type = RopeScalingType::llama3, .factor = factor};
  // Between the plain and the divided frequencies, the share is linear in the turns: two of them determine it. With
  // one, any line through it gives the same divisors.
  std::vector<std::size_t> between;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    if (!alike(divisors[i], 1.0) && !alike(divisors[i], factor)) between.push_back(i);
  }
  if (between.empty()) return std::nullopt;
  const auto share = [&](std::size_t i) {
    return (1.0 / divisors[i] - 1.0 / factor) / (1.0 - 1.0 / factor);
  };
  const double first = turns(between.front(), divisors.size(), theta);
  if (between.size() > 1) {
    const double last = turns(between.back(), divisors.size(), theta);
    const double slope = (share(between.front()) - share(between.back())) / (first - last);
    const double offset = slope * first - share(between.front());
    if (!(offset > 0.0)) return std::nullopt;
    constexpr double digits = 1000.0;
    scaling.high_freq_factor = std::round((1.0 + 1.0 / offset) * digits) / digits;
  }
  const double original = std::round((1.0 + share(between.front()) * (scaling.high_freq_factor - 1.0)) / first);
  if (!(original >= 1.0) || !(original < 1e9)) return std::nullopt;
  scaling.original_max_positions = static_cast<std::int64_t>(original);
  if (!(scaling.high_freq_factor > scaling.low_freq_factor)) return std::nullopt;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    if (!alike(divisor(scaling, turns(i, divisors.size(), theta)), divisors[i])) return std::nullopt;
  }
  return scaling;
}

std::vector<float> divisors_of(const RopeScaling& scaling, double theta, std::int64_t head_size) {
  std::vector<float> divisors(static_cast<std::size_t>(head_size / 2));
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    divisors[i] = static_cast<float>(divisor(scaling, turns(i, divisors.size(), theta)));
  }
  return divisors;
}

}  // namespace mslt
