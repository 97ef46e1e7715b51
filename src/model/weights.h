// The tensors of a parameter arena by their role, looked up once.
#pragma once

#include <vector>

#include "mslt/config.h"
#include "tensor/arena.h"

namespace mslt {

// Absent tensors are those that the configuration does without. The same structure serves parameters and gradients.
struct NormWeights {
  Tensor weight;
  Tensor bias;
};

struct LayerWeights {
  NormWeights attention_norm;
  Tensor qkv_weight;
  Tensor qkv_bias;
  Tensor attention_out_weight;
  Tensor attention_out_bias;
  NormWeights ffn_norm;
  Tensor ffn_up_weight;
  Tensor ffn_up_bias;
  Tensor ffn_down_weight;
  Tensor ffn_down_bias;
};

struct ModelWeights {
  Tensor token_embedding;
  Tensor position_embedding;
  std::vector<LayerWeights> layers;
  NormWeights final_norm;
  Tensor lm_head;         // token_embedding where tied
  Tensor padded_lm_head;  // with its spare rows of zeros: [V', C]
};

// Views of an arena laid out by parameter_layout(config, ...); they are valid as long as it lives.
ModelWeights bind_weights(const Config& config, const Arena& arena);

}  // namespace mslt
