// What a TrainingPass holds: views of weights, gradients and planned activations, and the operations between them.
#pragma once

#include <functional>
#include <vector>

#include "model/training_pass.h"
#include "model/weights.h"
#include "tensor/planner.h"

namespace mslt {

// A norm with the residual sum that it normalises, f [N, C]; mean and rstd f32 [N] for the backward pass.
struct NormActivations {
  Tensor sum;
  Tensor out;
  Tensor mean;
  Tensor rstd;
};

// One layer, forward. In pre-norm models the norms stand before attention and feed-forward, in post-norm models after.
struct LayerActivations {
  NormActivations attention_norm;
  Tensor qkv;          // f [B, T, (H+2K)·D]
  Tensor attention;    // f [B, T, H·D]
  Tensor log_sum_exp;  // f32 [B, H, T]
  NormActivations ffn_norm;
  Tensor ffn_up;      // the activation's argument, f [N, F] or [N, 2F]; absent where no backward pass needs it
  Tensor ffn_hidden;  // its result, f [N, F]
};

// One layer, backward.
struct LayerGradients {
  Tensor ffn_branch;  // of what dropout let through, f [N, C]; absent without dropout
  Tensor ffn_hidden;  // swiglu only
  Tensor ffn_up;      // swiglu writes it over the activation
  Tensor ffn_in;      // pre-norm only; post-norm models add to the residual's gradient at once
  Tensor attention_branch;
  Tensor attention;
  Tensor qkv;
  Tensor attention_in;
};

// Gives memory to an activation.
using TensorMaker = std::function<Tensor(std::string_view name, DType dtype, const Shape& shape)>;

struct TrainingPass::State {
  // `make` is called once for each activation, in a fixed order. `gradients` is empty in evaluate mode.
  State(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode, DType dtype,
        const Arena& gradients, const TensorMaker& make);

  // Fills everything up to final_hidden. `random_state` is absent where nothing is dropped.
  void forward(const Tensor& random_state);
  // Losses of all rows; with `loss_scale`, the gradients of lm_head and of final_hidden (written over it) as well.
  void loss(const Tensor& loss_sum, const Tensor& loss_scale);
  // From final_hidden's gradient to every parameter's.
  void backward(const Tensor& random_state);

  Transformer& transformer;
  Backend& backend;
  const Config& config;
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t rows;  // N
  Mode mode;
  AttentionShape attention_shape;
  NormKind norm_kind;
  Activation activation;
  ModelWeights weights;
  ModelWeights gradients;

  Tensor tokens;   // i32 [B, T]
  Tensor targets;  // i32 [N]
  Tensor embedded;
  std::vector<LayerActivations> layers;
  NormActivations final_norm;  // pre-norm only
  Tensor losses;               // f32 [N]
  Tensor logits;               // f [rows of a chunk, V']
  std::vector<LayerGradients> layer_gradients;

  bool pre_norm() const { return config.norm_position == NormPosition::pre; }
  // The norm whose output goes to the output head.
  const NormActivations& last_norm() const { return pre_norm() ? final_norm : layers.back().ffn_norm; }
  const Tensor& final_hidden() const { return last_norm().out; }
  // What layer i's attention reads.
  const Tensor& attention_input(std::size_t i) const;
  // Dropout of layer i at one of its sites; of nothing where random_state is absent.
  enum class Site : std::uint32_t { attention_probabilities, attention_branch, ffn_branch };
  Dropout dropout_at(std::size_t i, Site site, const Tensor& random_state) const;
  Dropout embedding_dropout(const Tensor& random_state) const;

 private:
  void make_forward(DType dtype, const TensorMaker& make);
  void make_backward(DType dtype, const TensorMaker& make);
  void close_branch(const NormActivations& norm, const NormWeights& norm_weights, const Tensor& residual,
                    const Dropout& dropout);
  void forward_layer(std::size_t i, const Tensor& random_state);
  void backward_norm(const NormActivations& norm, const NormWeights& norm_weights, const NormWeights& norm_gradients,
                     const Tensor& dout, const Tensor& dsum_direct);
  void backward_ffn(std::size_t i, const Tensor& random_state);
  void backward_attention(std::size_t i, const Tensor& random_state);
  // The gradient of the residual stream: one buffer through the whole backward pass.
  const Tensor& residual_gradient() const { return final_hidden(); }
};

}  // namespace mslt
