// The stages of each level of recomputation.
#include "model/recomputation.h"

#include "base/fail.h"

namespace mslt {
namespace {

// Whether the stage's result costs no more than reading and writing it.
bool is_cheap(const Stage& stage) {
  const auto* const join = stage.as<Join>();
  return stage.as<Activate>() != nullptr || (join != nullptr && join->normalizes);
}

}  // namespace

std::vector<Recomputed> recomputed_stages(const Config& config, const std::vector<Stage>& stages, Recompute level) {
  if (level == Recompute::automatic) fail(ErrorKind::usage, "A pass needs a level of recomputation other than auto.");
  std::vector<Recomputed> result;
  for (std::size_t i = 0; i < stages.size() && stages[i].layer + 1 < config.layers; ++i) {
    if (level == Recompute::activations && is_cheap(stages[i])) result.push_back({i, i, i + 1});
    const bool begins = i == 0 || stages[i - 1].layer != stages[i].layer;
    if (level != Recompute::layers || !begins) continue;
    std::size_t end = i;
    while (stages[end + 1].layer == stages[i].layer) ++end;
    // No backward pass reads what a product at the end makes.
    result.push_back({i, stages[end].as<Linear>() != nullptr ? end - 1 : end, end});
  }
  return result;
}

}  // namespace mslt
