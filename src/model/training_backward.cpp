// The backward pass of TrainingPass.
#include "model/training_state.h"

namespace mslt {

// residual_gradient() = dsum_direct + the norm's gradient of dout.
void TrainingPass::State::backward_norm(const NormActivations& norm, const NormWeights& norm_weights,
                                        const NormWeights& norm_gradients, const Tensor& dout,
                                        const Tensor& dsum_direct) {
  backend.run(ResidualNormBackward{.dsum = residual_gradient(),
                                   .dweight = norm_gradients.weight,
                                   .dbias = norm_gradients.bias,
                                   .dout = dout,
                                   .dsum_direct = dsum_direct,
                                   .sum = norm.sum,
                                   .mean = norm.mean,
                                   .rstd = norm.rstd,
                                   .weight = norm_weights.weight,
                                   .kind = norm_kind});
}

// On entry residual_gradient() is that of the sum which the feed-forward branch was added to; on return, in pre-norm
// models, that of the sum before; in post-norm models, that of the attention norm's output.
void TrainingPass::State::backward_ffn(std::size_t i, const Tensor& random_state) {
  const LayerActivations& layer = layers[i];
  const LayerWeights& weight = weights.layers[i];
  const LayerWeights& gradient = gradients.layers[i];
  const LayerGradients& d = layer_gradients[i];
  const bool pre = pre_norm();
  const Tensor& residual = residual_gradient();
  Tensor branch = residual;
  if (random_state) {
    branch = d.ffn_branch;
    backend.run(DropElements{.out = branch, .in = residual, .dropout = dropout_at(i, Site::ffn_branch, random_state)});
  }

  backend.run(MatmulBackwardWeight{
      .dweight = gradient.ffn_down_weight, .dbias = gradient.ffn_down_bias, .dout = branch, .in = layer.ffn_hidden});
  Tensor d_up = d.ffn_up;
  if (activation == Activation::swiglu) {
    d_up = layer.ffn_up;
    backend.run(MatmulBackwardInput{.din = d.ffn_hidden, .dout = branch, .weight = weight.ffn_down_weight});
    backend.run(ActivationBackward{.activation = activation, .din = d_up, .dout = d.ffn_hidden, .in = layer.ffn_up});
  } else {
    backend.run(MatmulBackwardInput{.din = d_up,
                                    .dout = branch,
                                    .weight = weight.ffn_down_weight,
                                    .activation = activation,
                                    .pre_activation = layer.ffn_up});
  }
  const NormActivations& norm = pre ? layer.ffn_norm : layer.attention_norm;
  backend.run(MatmulBackwardWeight{
      .dweight = gradient.ffn_up_weight, .dbias = gradient.ffn_up_bias, .dout = d_up, .in = norm.out});
  backend.run(MatmulBackwardInput{
      .din = pre ? d.ffn_in : residual, .dout = d_up, .weight = weight.ffn_up_weight, .accumulate = !pre});
  if (pre) backward_norm(norm, weight.ffn_norm, gradient.ffn_norm, d.ffn_in, residual);
}

// The same for the attention branch; in post-norm models it ends at the layer's input.
void TrainingPass::State::backward_attention(std::size_t i, const Tensor& random_state) {
  const LayerActivations& layer = layers[i];
  const LayerWeights& weight = weights.layers[i];
  const LayerWeights& gradient = gradients.layers[i];
  const LayerGradients& d = layer_gradients[i];
  const bool pre = pre_norm();
  const Tensor& residual = residual_gradient();
  Tensor branch = residual;
  if (random_state) {
    branch = d.attention_branch;
    backend.run(
        DropElements{.out = branch, .in = residual, .dropout = dropout_at(i, Site::attention_branch, random_state)});
  }

  const Shape flat_attention = {rows, layer.attention.shape()[-1]};
  backend.run(MatmulBackwardWeight{.dweight = gradient.attention_out_weight,
                                   .dbias = gradient.attention_out_bias,
                                   .dout = branch,
                                   .in = layer.attention.reshape(flat_attention)});
  backend.run(MatmulBackwardInput{
      .din = d.attention.reshape(flat_attention), .dout = branch, .weight = weight.attention_out_weight});
  backend.run(AttentionBackward{.dqkv = d.qkv,
                                .dout = d.attention,
                                .qkv = layer.qkv,
                                .out = layer.attention,
                                .log_sum_exp = layer.log_sum_exp,
                                .shape = attention_shape,
                                .dropout = dropout_at(i, Site::attention_probabilities, random_state)});
  if (transformer.inverse_frequencies()) {
    backend.run(Rope{.qkv = d.qkv,
                     .inverse_frequencies = transformer.inverse_frequencies(),
                     .shape = attention_shape,
                     .backward = true});
  }
  const Tensor d_qkv = d.qkv.reshape({rows, d.qkv.shape()[-1]});
  backend.run(MatmulBackwardWeight{
      .dweight = gradient.qkv_weight, .dbias = gradient.qkv_bias, .dout = d_qkv, .in = attention_input(i)});
  backend.run(MatmulBackwardInput{
      .din = pre ? d.attention_in : residual, .dout = d_qkv, .weight = weight.qkv_weight, .accumulate = !pre});
  if (pre)
    backward_norm(layer.attention_norm, weight.attention_norm, gradient.attention_norm, d.attention_in, residual);
}

void TrainingPass::State::backward(const Tensor& random_state) {
  const Tensor& residual = residual_gradient();
  if (pre_norm()) backward_norm(final_norm, weights.final_norm, gradients.final_norm, residual, {});
  for (std::size_t i = layers.size(); i-- > 0;) {
    const LayerWeights& weight = weights.layers[i];
    const LayerWeights& gradient = gradients.layers[i];
    if (!pre_norm()) backward_norm(layers[i].ffn_norm, weight.ffn_norm, gradient.ffn_norm, residual, {});
    backward_ffn(i, random_state);
    if (!pre_norm()) {
      backward_norm(layers[i].attention_norm, weight.attention_norm, gradient.attention_norm, residual, {});
    }
    backward_attention(i, random_state);
  }
  if (random_state)
    backend.run(DropElements{.out = residual, .in = residual, .dropout = embedding_dropout(random_state)});
  backend.run(EmbeddingBackward{.dtoken_weight = gradients.token_embedding,
                                .dposition_weight = gradients.position_embedding,
                                .dout = residual.reshape({batch, seq_len, config.channels}),
                                .tokens = tokens,
                                .scale = config.embedding_scale});
}

}  // namespace mslt
