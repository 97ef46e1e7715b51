// Looking up a model's tensors by name.
#include "model/weights.h"

namespace mslt {

std::string_view head_name(const ArenaLayout& layout) {
  return layout.contains("lm_head.weight") ? "lm_head.weight" : "token_embedding.weight";
}

ModelWeights bind_weights(const std::vector<Stage>& stages, const Arena& arena, const QuantisedWeights& quantised) {
  const auto find = [&](const std::string& name) {
    return arena.layout().contains(name) ? arena.tensor(name) : Tensor();
  };
  ModelWeights weights;
  weights.token_embedding = arena.tensor("token_embedding.weight");
  weights.position_embedding = find("position_embedding.weight");
  for (const Stage& stage : stages) {
    const auto* heads = stage.as<NormalizeHeads>();
    const Tensor weight = find(stage.name + ".weight");
    weights.stages.push_back({weight, find(stage.name + ".bias"),
                              heads == nullptr ? Tensor() : find(heads->key_name + ".weight"),
                              quantised.find(stage.name + ".weight", weight)});
  }
  const std::string_view head = head_name(arena.layout());
  const Tensor plain = arena.tensor(head);
  weights.padded_lm_head = quantised.find(head, arena.with_spare(head));
  weights.lm_head = weights.padded_lm_head;
  weights.lm_head.values = weights.lm_head.values.slice(0, plain.shape()[0]);
  if (weights.lm_head.scales) weights.lm_head.scales = weights.lm_head.scales.slice(0, plain.shape()[0]);
  return weights;
}

}  // namespace mslt
