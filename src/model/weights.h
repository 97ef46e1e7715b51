// The tensors of a parameter arena by their role, looked up once.
#pragma once

#include <string_view>
#include <vector>

#include "model/quantised_weights.h"
#include "model/stages.h"
#include "mslt/config.h"
#include "tensor/arena.h"

namespace mslt {

// Absent tensors are those that the configuration does without, and plain forms of matrices that are packed or mapped
// transposed. The same structure serves parameters and gradients.
struct StageWeights {
  Tensor weight;
  Tensor bias;
  Tensor key_weight;  // NormalizeHeads
  Weight product;     // Linear: what products forward read: the weight, its quantised copy or its transpose
};

struct ModelWeights {
  Tensor token_embedding;
  Weight token_rows;  // what tokens are looked up in: the embedding, which may be packed
  Tensor position_embedding;
  std::vector<StageWeights> stages;
  Weight lm_head;         // token_embedding where tied; may be quantised
  Weight padded_lm_head;  // with its spare rows of zeros: [V', C]
};

// Views of an arena laid out by parameter_layout, which lacks packed and transposed matrices, and of the quantised
// ones; they are valid as long as both live.
ModelWeights bind_weights(const Config& config, const std::vector<Stage>& stages, const Arena& arena,
                          const QuantisedWeights& quantised = {});

// The matrix of a model with all these parameters that makes logits.
std::string_view head_name(const ArenaLayout& layout);

}  // namespace mslt
