// The forward pass and the loss of TrainingPass.
#include <algorithm>

#include "model/training_state.h"

namespace mslt {

const Tensor& TrainingPass::State::attention_input(std::size_t i) const {
  if (pre_norm()) return layers[i].attention_norm.out;
  return i == 0 ? embedded : layers[i - 1].ffn_norm.out;
}

Dropout TrainingPass::State::embedding_dropout(const Tensor& random_state) const {
  if (!random_state) return {};
  return {config.dropout, 0, random_state};
}

Dropout TrainingPass::State::dropout_at(std::size_t i, Site site, const Tensor& random_state) const {
  if (!random_state) return {};
  // Operation 0 is the embedding's.
  return {config.dropout, static_cast<std::uint32_t>(i) * 4 + static_cast<std::uint32_t>(site) + 1, random_state};
}

// norm.out holds the branch on entry: sum = residual + dropout(branch), out = norm(sum).
void TrainingPass::State::close_branch(const NormActivations& norm, const NormWeights& norm_weights,
                                       const Tensor& residual, const Dropout& dropout) {
  backend.run(ResidualNormForward{.out = norm.out,
                                  .sum = norm.sum,
                                  .mean = norm.mean,
                                  .rstd = norm.rstd,
                                  .residual = residual,
                                  .x = norm.out,
                                  .weight = norm_weights.weight,
                                  .bias = norm_weights.bias,
                                  .kind = norm_kind,
                                  .dropout = dropout});
}

void TrainingPass::State::forward_layer(std::size_t i, const Tensor& random_state) {
  const LayerActivations& layer = layers[i];
  const LayerWeights& weight = weights.layers[i];
  const bool pre = pre_norm();
  const bool last = i + 1 == layers.size();

  backend.run(MatmulForward{.out = layer.qkv.reshape({rows, layer.qkv.shape()[-1]}),
                            .in = attention_input(i),
                            .weight = weight.qkv_weight,
                            .bias = weight.qkv_bias});
  if (transformer.inverse_frequencies()) {
    backend.run(
        Rope{.qkv = layer.qkv, .inverse_frequencies = transformer.inverse_frequencies(), .shape = attention_shape});
  }
  backend.run(AttentionForward{.out = layer.attention,
                               .log_sum_exp = layer.log_sum_exp,
                               .qkv = layer.qkv,
                               .shape = attention_shape,
                               .dropout = dropout_at(i, Site::attention_probabilities, random_state)});
  const NormActivations& middle = pre ? layer.ffn_norm : layer.attention_norm;
  backend.run(MatmulForward{.out = middle.out,
                            .in = layer.attention.reshape({rows, layer.attention.shape()[-1]}),
                            .weight = weight.attention_out_weight,
                            .bias = weight.attention_out_bias});
  close_branch(middle, pre ? weight.ffn_norm : weight.attention_norm,
               pre ? layer.attention_norm.sum : attention_input(i),
               dropout_at(i, Site::attention_branch, random_state));

  if (activation == Activation::swiglu) {
    backend.run(MatmulForward{
        .out = layer.ffn_up, .in = middle.out, .weight = weight.ffn_up_weight, .bias = weight.ffn_up_bias});
    backend.run(ActivationForward{.activation = activation, .out = layer.ffn_hidden, .in = layer.ffn_up});
  } else {
    backend.run(MatmulForward{.out = layer.ffn_hidden,
                              .in = middle.out,
                              .weight = weight.ffn_up_weight,
                              .bias = weight.ffn_up_bias,
                              .activation = activation,
                              .pre_activation = layer.ffn_up});
  }
  const NormActivations& next = !pre ? layer.ffn_norm : last ? final_norm : layers[i + 1].attention_norm;
  const NormWeights& next_weights = !pre   ? weight.ffn_norm
                                    : last ? weights.final_norm
                                           : weights.layers[i + 1].attention_norm;
  backend.run(MatmulForward{
      .out = next.out, .in = layer.ffn_hidden, .weight = weight.ffn_down_weight, .bias = weight.ffn_down_bias});
  close_branch(next, next_weights, pre ? middle.sum : middle.out, dropout_at(i, Site::ffn_branch, random_state));
}

void TrainingPass::State::forward(const Tensor& random_state) {
  const Tensor& positions = transformer.position_table() ? transformer.position_table() : weights.position_embedding;
  backend.run(EmbeddingForward{.out = embedded.reshape({batch, seq_len, config.channels}),
                               .tokens = tokens,
                               .token_weight = weights.token_embedding,
                               .position_weight = positions,
                               .scale = config.embedding_scale});
  if (random_state)
    backend.run(DropElements{.out = embedded, .in = embedded, .dropout = embedding_dropout(random_state)});
  if (pre_norm()) {
    const NormActivations& norm = layers.front().attention_norm;
    const NormWeights& weight = weights.layers.front().attention_norm;
    backend.run(ResidualNormForward{.out = norm.out,
                                    .mean = norm.mean,
                                    .rstd = norm.rstd,
                                    .residual = norm.sum,
                                    .weight = weight.weight,
                                    .bias = weight.bias,
                                    .kind = norm_kind});
  }
  for (std::size_t i = 0; i < layers.size(); ++i) forward_layer(i, random_state);
}

void TrainingPass::State::loss(const Tensor& loss_sum, const Tensor& loss_scale) {
  const std::int64_t chunk = logits.shape()[0];
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t count = std::min(chunk, rows - begin);
    const Tensor hidden = final_hidden().slice(begin, count);
    const Tensor chunk_logits = logits.slice(0, count);
    backend.run(MatmulForward{.out = chunk_logits, .in = hidden, .weight = weights.padded_lm_head});
    backend.run(CrossEntropy{.losses = losses.slice(begin, count),
                             .logits = chunk_logits,
                             .targets = targets.slice(begin, count),
                             .vocab = config.vocab_size,
                             .loss_scale = loss_scale});
    if (!loss_scale) continue;
    backend.run(MatmulBackwardWeight{.dweight = gradients.padded_lm_head, .dout = chunk_logits, .in = hidden});
    backend.run(MatmulBackwardInput{.din = hidden, .dout = chunk_logits, .weight = weights.padded_lm_head});
  }
  backend.run(Sum{.out = loss_sum, .in = losses, .accumulate = true});
}

}  // namespace mslt
