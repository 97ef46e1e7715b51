// Looking up a model's tensors by name.
#include "model/weights.h"

namespace mslt {

std::string_view head_name(const ArenaLayout& layout) {
  return layout.contains("lm_head.weight") ? "lm_head.weight" : "token_embedding.weight";
}

ModelWeights bind_weights(const Config& config, const std::vector<Stage>& stages, const Arena& arena,
                          const QuantisedWeights& quantised) {
  const auto find = [&](const std::string& name) {
    return arena.layout().contains(name) ? arena.tensor(name) : Tensor();
  };
  constexpr std::string_view embedding = "token_embedding.weight";
  const auto without_spare = [&](Weight weight) {
    weight.values = weight.values.slice(0, config.vocab_size);
    if (weight.scales) weight.scales = weight.scales.slice(0, config.vocab_size);
    return weight;
  };
  ModelWeights weights;
  weights.token_embedding = find(std::string(embedding));
  weights.position_embedding = find("position_embedding.weight");
  for (const Stage& stage : stages) {
    const auto* heads = stage.as<NormalizeHeads>();
    const Tensor weight = find(stage.name + ".weight");
    const Tensor transposed = arena.transposed(stage.name + ".weight");
    weights.stages.push_back(
        {weight, find(stage.name + ".bias"), heads == nullptr ? Tensor() : find(heads->key_name + ".weight"),
         transposed ? Weight::by_columns(transposed) : quantised.find(stage.name + ".weight", weight)});
  }
  const std::string_view head = config.tied_embeddings ? embedding : "lm_head.weight";
  const bool is_plain = arena.layout().contains(head);
  weights.padded_lm_head = quantised.find(head, is_plain ? arena.with_spare(head) : Tensor());
  weights.lm_head = without_spare(weights.padded_lm_head);
  weights.token_rows =
      weights.token_embedding ? Weight(weights.token_embedding) : without_spare(quantised.find(embedding, {}));
  return weights;
}

}  // namespace mslt
