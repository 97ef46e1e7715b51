// The tensors of a parameter arena by their role, looked up once.
#pragma once

#include <vector>

#include "model/stages.h"
#include "tensor/arena.h"

namespace mslt {

// Absent tensors are those that the configuration does without. The same structure serves parameters and gradients.
struct StageWeights {
  Tensor weight;
  Tensor bias;
  Tensor key_weight;  // NormalizeHeads
};

struct ModelWeights {
  Tensor token_embedding;
  Tensor position_embedding;
  std::vector<StageWeights> stages;
  Tensor lm_head;         // token_embedding where tied
  Tensor padded_lm_head;  // with its spare rows of zeros: [V', C]
};

// Views of an arena laid out by parameter_layout; they are valid as long as it lives.
ModelWeights bind_weights(const std::vector<Stage>& stages, const Arena& arena);

}  // namespace mslt
