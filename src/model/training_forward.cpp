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
  backend.residual_norm_forward(norm.out, norm.sum, norm.mean, norm.rstd, residual, norm.out, norm_weights.weight,
                                norm_weights.bias, norm_kind, dropout);
}

void TrainingPass::State::forward_layer(std::size_t i, const Tensor& random_state) {
  const LayerActivations& layer = layers[i];
  const LayerWeights& weight = weights.layers[i];
  const bool pre = pre_norm();
  const bool last = i + 1 == layers.size();

  backend.matmul_forward(layer.qkv.reshape({rows, layer.qkv.shape()[-1]}), attention_input(i), weight.qkv_weight,
                         weight.qkv_bias, Activation::none, {});
  if (transformer.inverse_frequencies()) {
    backend.rope_forward(layer.qkv, transformer.inverse_frequencies(), {}, attention_shape);
  }
  backend.attention_forward(layer.attention, layer.log_sum_exp, layer.qkv, attention_shape,
                            dropout_at(i, Site::attention_probabilities, random_state));
  const NormActivations& middle = pre ? layer.ffn_norm : layer.attention_norm;
  backend.matmul_forward(middle.out, layer.attention.reshape({rows, layer.attention.shape()[-1]}),
                         weight.attention_out_weight, weight.attention_out_bias, Activation::none, {});
  close_branch(middle, pre ? weight.ffn_norm : weight.attention_norm,
               pre ? layer.attention_norm.sum : attention_input(i),
               dropout_at(i, Site::attention_branch, random_state));

  if (activation == Activation::swiglu) {
    backend.matmul_forward(layer.ffn_up, middle.out, weight.ffn_up_weight, weight.ffn_up_bias, Activation::none, {});
    backend.activation_forward(activation, layer.ffn_hidden, layer.ffn_up);
  } else {
    backend.matmul_forward(layer.ffn_hidden, middle.out, weight.ffn_up_weight, weight.ffn_up_bias, activation,
                           layer.ffn_up);
  }
  const NormActivations& next = !pre ? layer.ffn_norm : last ? final_norm : layers[i + 1].attention_norm;
  const NormWeights& next_weights = !pre   ? weight.ffn_norm
                                    : last ? weights.final_norm
                                           : weights.layers[i + 1].attention_norm;
  backend.matmul_forward(next.out, layer.ffn_hidden, weight.ffn_down_weight, weight.ffn_down_bias, Activation::none,
                         {});
  close_branch(next, next_weights, pre ? middle.sum : middle.out, dropout_at(i, Site::ffn_branch, random_state));
}

void TrainingPass::State::forward(const Tensor& random_state) {
  const Tensor& positions = transformer.position_table() ? transformer.position_table() : weights.position_embedding;
  backend.embedding_forward(embedded.reshape({batch, seq_len, config.channels}), tokens, weights.token_embedding,
                            positions, {}, config.embedding_scale);
  if (random_state) backend.dropout_forward(embedded, embedded, embedding_dropout(random_state));
  if (pre_norm()) {
    const NormActivations& norm = layers.front().attention_norm;
    const NormWeights& weight = weights.layers.front().attention_norm;
    backend.residual_norm_forward(norm.out, {}, norm.mean, norm.rstd, norm.sum, {}, weight.weight, weight.bias,
                                  norm_kind, {});
  }
  for (std::size_t i = 0; i < layers.size(); ++i) forward_layer(i, random_state);
}

void TrainingPass::State::loss(const Tensor& loss_sum, const Tensor& loss_scale) {
  const std::int64_t chunk = logits.shape()[0];
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t count = std::min(chunk, rows - begin);
    const Tensor hidden = final_hidden().slice(begin, count);
    const Tensor chunk_logits = logits.slice(0, count);
    backend.matmul_forward(chunk_logits, hidden, weights.lm_head, {}, Activation::none, {});
    backend.cross_entropy(losses.slice(begin, count), chunk_logits, targets.slice(begin, count), config.vocab_size,
                          loss_scale);
    if (!loss_scale) continue;
    backend.matmul_backward_weight(gradients.lm_head, {}, chunk_logits, hidden);
    backend.matmul_backward_input(hidden, chunk_logits, weights.lm_head, Activation::none, {}, false);
  }
  backend.sum(loss_sum, losses, true);
}

}  // namespace mslt
