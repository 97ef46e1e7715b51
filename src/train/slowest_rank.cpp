// Comparing the ranks' times.
#include "train/slowest_rank.h"

#include <algorithm>
#include <vector>

#include "base/fail.h"

namespace mslt {

std::optional<std::string> find_slowest_rank(Communicator& communicator, double own, double all) {
  if (communicator.is_alone()) return std::nullopt;
  std::vector<float> seconds(static_cast<std::size_t>(communicator.size()));
  seconds[static_cast<std::size_t>(communicator.rank())] = static_cast<float>(own);
  communicator.all_gather(seconds);
  const auto slowest = std::ranges::max_element(seconds);
  const float longest = *slowest;
  const auto rank = static_cast<int>(slowest - seconds.begin());
  seconds.erase(slowest);
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::ranges::nth_element(seconds, middle);
  const float median = *middle;
  if (longest < 1.25f * median || static_cast<double>(longest - median) < 0.1 * all) return std::nullopt;
  return fmt::format("{} takes {:.1f} times as long as the others for its part of a step; they wait for it.",
                     communicator.name_of(rank), longest / median);
}

}  // namespace mslt
