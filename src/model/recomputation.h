// What a training's backward pass runs forward again, level by level.
#pragma once

#include <cstddef>
#include <vector>

#include "model/stages.h"

namespace mslt {

// Stages that run forward again, one after another, instead of their results being kept. The first one resumes from
// what is kept: a Join from its sum, an activation that was part of a product from that product's argument, any other
// stage from the result of the stage before.
struct Recomputed {
  std::size_t first;
  std::size_t last;    // included
  std::size_t before;  // the stage before whose backward pass they run
};

// In ascending order. The last layer is not among them: its results are the first that the backward pass reads. Throws
// Error(usage) for Recompute::automatic.
std::vector<Recomputed> recomputed_stages(const Config& config, const std::vector<Stage>& stages, Recompute level);

}  // namespace mslt
