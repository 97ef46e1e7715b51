// The backward pass of TrainingPass.
#include "model/training_state.h"

namespace mslt {

// residual_gradient() = dsum_direct + the norm's gradient of dout.
void TrainingPass::State::backward_norm(const NormActivations& norm, const NormWeights& norm_weights,
                                        const NormWeights& norm_gradients, const Tensor& dout,
                                        const Tensor& dsum_direct) {
  backend.residual_norm_backward(residual_gradient(), norm_gradients.weight, norm_gradients.bias, dout, dsum_direct,
                                 norm.sum, norm.mean, norm.rstd, norm_weights.weight, norm_kind);
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
    backend.dropout_backward(branch, residual, dropout_at(i, Site::ffn_branch, random_state));
  }

  backend.matmul_backward_weight(gradient.ffn_down_weight, gradient.ffn_down_bias, branch, layer.ffn_hidden);
  Tensor d_up = d.ffn_up;
  if (activation == Activation::swiglu) {
    d_up = layer.ffn_up;
    backend.matmul_backward_input(d.ffn_hidden, branch, weight.ffn_down_weight, Activation::none, {}, false);
    backend.activation_backward(activation, d_up, d.ffn_hidden, layer.ffn_up);
  } else {
    backend.matmul_backward_input(d_up, branch, weight.ffn_down_weight, activation, layer.ffn_up, false);
  }
  const NormActivations& norm = pre ? layer.ffn_norm : layer.attention_norm;
  backend.matmul_backward_weight(gradient.ffn_up_weight, gradient.ffn_up_bias, d_up, norm.out);
  backend.matmul_backward_input(pre ? d.ffn_in : residual, d_up, weight.ffn_up_weight, Activation::none, {}, !pre);
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
    backend.dropout_backward(branch, residual, dropout_at(i, Site::attention_branch, random_state));
  }

  const Shape flat_attention = {rows, layer.attention.shape()[-1]};
  backend.matmul_backward_weight(gradient.attention_out_weight, gradient.attention_out_bias, branch,
                                 layer.attention.reshape(flat_attention));
  backend.matmul_backward_input(d.attention.reshape(flat_attention), branch, weight.attention_out_weight,
                                Activation::none, {}, false);
  backend.attention_backward(d.qkv, d.attention, layer.qkv, layer.attention, layer.log_sum_exp, attention_shape,
                             dropout_at(i, Site::attention_probabilities, random_state));
  if (transformer.inverse_frequencies()) {
    backend.rope_backward(d.qkv, transformer.inverse_frequencies(), {}, attention_shape);
  }
  const Tensor d_qkv = d.qkv.reshape({rows, d.qkv.shape()[-1]});
  backend.matmul_backward_weight(gradient.qkv_weight, gradient.qkv_bias, d_qkv, attention_input(i));
  backend.matmul_backward_input(pre ? d.attention_in : residual, d_qkv, weight.qkv_weight, Activation::none, {}, !pre);
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
  if (random_state) backend.dropout_backward(residual, residual, embedding_dropout(random_state));
  backend.embedding_backward(gradients.token_embedding, gradients.position_embedding,
                             residual.reshape({batch, seq_len, config.channels}), tokens, config.embedding_scale);
}

}  // namespace mslt
