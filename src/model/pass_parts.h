// Dividing a training pass so that gradients can be used as soon as they are there.
#pragma once

#include <cstddef>
#include <vector>

#include "model/parameters.h"
#include "mslt/config.h"

namespace mslt {

// Some stages of the backward pass, and the elements of the gradients' arena that are done behind them: no later part
// reads or writes them.
struct PassPart {
  std::size_t first_stage = 0;  // the backward pass goes from the stage before last_stage down to first_stage
  std::size_t last_stage = 0;
  bool begins = false;  // with the forward pass and the loss
  bool ends = false;    // with the embeddings
  std::size_t first = 0;
  std::size_t count = 0;
};

// The parts of a pass, in the order in which they run. Together they are done with every element once. The matrices
// under weight decay lie in the order of the stages, so that parts are done with one range each, from the arena's end
// towards its beginning: of at least `bytes`, and no more than that and one matrix. The last part has all others:
// embeddings, which may take part in the output head, norms and biases, which are few.
std::vector<PassPart> parts_of_pass(const Config& config, const ParameterLayout& layout, std::size_t bytes);

}  // namespace mslt
