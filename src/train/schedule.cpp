// Learning-rate schedules.
#include "train/schedule.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "base/fail.h"
#include "base/suggest.h"

namespace mslt {
namespace {

constexpr std::array<std::string_view, 4> schedule_names = {"cosine", "linear", "constant", "wsd"};

}  // namespace

std::string_view name_of(Schedule schedule) {
  return schedule_names[static_cast<std::size_t>(schedule)];
}

Schedule schedule_from_name(std::string_view name) {
  const auto* found = std::find(schedule_names.begin(), schedule_names.end(), name);
  if (found == schedule_names.end()) {
    fail(ErrorKind::usage, "There is no schedule '{}'; valid are cosine, linear, constant and wsd.{}", name,
         near_name_hint(name, schedule_names));
  }
  return static_cast<Schedule>(found - schedule_names.begin());
}

std::int64_t LearningRate::decay_steps() const {
  return std::max<std::int64_t>(1, std::llround(decay_fraction * static_cast<double>(steps)));
}

double LearningRate::at(std::int64_t step) const {
  const std::int64_t k = std::min(step - 1, steps);
  if (k < warmup) return rate * static_cast<double>(k + 1) / static_cast<double>(warmup);
  const auto falling = [&](double share) {
    return rate * (min_ratio + (1.0 - min_ratio) * share);
  };
  switch (schedule) {
    case Schedule::constant:
      return rate;
    case Schedule::wsd: {
      const std::int64_t decay = decay_steps();
      const std::int64_t begin = steps - decay;
      return k < begin ? rate : falling(1.0 - static_cast<double>(k - begin) / static_cast<double>(decay));
    }
    case Schedule::cosine:
    case Schedule::linear:
      break;
  }
  const double progress = static_cast<double>(k - warmup) / static_cast<double>(steps - warmup);
  return schedule == Schedule::linear ? falling(1.0 - progress)
                                      : falling(0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

void LearningRate::validate() const {
  std::vector<std::string> wrong;
  const auto reject = [&](std::string text) {
    wrong.push_back(std::move(text));
  };
  if (steps < 1) reject(fmt::format("--steps is {}; it must be at least 1.", steps));
  const bool usable = rate > 0.0 && std::isfinite(rate);
  if (!usable) {
    reject(fmt::format("--lr is {}; it must be a finite number above 0.", rate));
  }
  if (!(min_ratio >= 0.0 && min_ratio <= 1.0)) {
    reject(fmt::format("--min-lr-ratio is {}; it must lie in [0, 1].", min_ratio));
  }
  if (warmup < 0 || (steps >= 1 && warmup >= steps)) {
    reject(fmt::format("--warmup is {}; it must lie in [0, {}), below --steps.", warmup, steps));
  }
  if (schedule == Schedule::wsd) {
    if (!(decay_fraction > 0.0 && decay_fraction <= 1.0)) {
      reject(fmt::format("--decay-fraction is {}; it must lie in (0, 1].", decay_fraction));
    } else if (steps >= 1 && warmup >= 0 && warmup < steps && warmup + decay_steps() > steps) {
      reject(fmt::format("--warmup {} and the decay of {} steps overlap in {} steps; lower one of them.", warmup,
                         decay_steps(), steps));
    }
  }
  if (!wrong.empty()) fail(ErrorKind::usage, "{}", fmt::join(wrong, " "));
}

}  // namespace mslt
