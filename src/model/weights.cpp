// Looking up a model's tensors by name.
#include "model/weights.h"

#include "model/parameters.h"

namespace mslt {

ModelWeights bind_weights(const Config& config, const Arena& arena) {
  const auto find = [&](const std::string& name) {
    return arena.layout().contains(name) ? arena.tensor(name) : Tensor();
  };
  const auto find_norm = [&](const std::string& name) {
    return NormWeights{find(name + ".weight"), find(name + ".bias")};
  };
  ModelWeights weights;
  weights.token_embedding = arena.tensor("token_embedding.weight");
  weights.position_embedding = find("position_embedding.weight");
  for (std::int64_t i = 0; i < config.layers; ++i) {
    LayerWeights layer;
    layer.attention_norm = find_norm(layer_name(i, "attention_norm"));
    layer.qkv_weight = find(layer_name(i, "qkv.weight"));
    layer.qkv_bias = find(layer_name(i, "qkv.bias"));
    layer.attention_out_weight = find(layer_name(i, "attention_out.weight"));
    layer.attention_out_bias = find(layer_name(i, "attention_out.bias"));
    layer.ffn_norm = find_norm(layer_name(i, "ffn_norm"));
    layer.ffn_up_weight = find(layer_name(i, "ffn_up.weight"));
    layer.ffn_up_bias = find(layer_name(i, "ffn_up.bias"));
    layer.ffn_down_weight = find(layer_name(i, "ffn_down.weight"));
    layer.ffn_down_bias = find(layer_name(i, "ffn_down.bias"));
    weights.layers.push_back(layer);
  }
  weights.final_norm = find_norm("final_norm");
  const char* const head = config.tied_embeddings ? "token_embedding.weight" : "lm_head.weight";
  weights.lm_head = arena.tensor(head);
  weights.padded_lm_head = arena.with_spare(head);
  return weights;
}

}  // namespace mslt
