// Looking up a model's tensors by name.
#include "model/weights.h"

namespace mslt {

ModelWeights bind_weights(const std::vector<Stage>& stages, const Arena& arena) {
  const auto find = [&](const std::string& name) {
    return arena.layout().contains(name) ? arena.tensor(name) : Tensor();
  };
  ModelWeights weights;
  weights.token_embedding = arena.tensor("token_embedding.weight");
  weights.position_embedding = find("position_embedding.weight");
  for (const Stage& stage : stages) {
    const auto* heads = stage.as<NormalizeHeads>();
    weights.stages.push_back({find(stage.name + ".weight"), find(stage.name + ".bias"),
                              heads == nullptr ? Tensor() : find(heads->key_name + ".weight")});
  }
  const char* const head = arena.layout().contains("lm_head.weight") ? "lm_head.weight" : "token_embedding.weight";
  weights.lm_head = arena.tensor(head);
  weights.padded_lm_head = arena.with_spare(head);
  return weights;
}

}  // namespace mslt
