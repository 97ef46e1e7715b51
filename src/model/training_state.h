// What a TrainingPass holds: the stages with their weights, gradients and planned activations.
#pragma once

#include <functional>
#include <vector>

#include "model/recomputation.h"
#include "model/training_pass.h"
#include "model/weights.h"
#include "tensor/planner.h"

namespace mslt {

// What the backward pass needs of the queries, or of the keys, of a NormalizeHeads; absent without one.
struct HeadNormTensors {
  Tensor raw;   // f [N · pieces, columns of a piece]: before the norm
  Tensor rstd;  // f32 [N · pieces]
};

// What one stage reads and makes; absent where it has no use for it. Matrices of activations are f [N, columns].
struct StageTensors {
  StageWeights weights;
  StageWeights gradients;
  Tensor in;
  Tensor out;       // may be in
  Tensor residual;  // Join: the stream before
  Tensor sum;       // Join: the stream behind; Normalize: in
  Tensor mean;      // f32 [N], for the norm's backward pass
  Tensor rstd;
  HeadNormTensors queries;
  HeadNormTensors keys;
  Tensor log_sum_exp;                        // f32 [B, H, T]
  Activation activation = Activation::none;  // part of this product
  Tensor pre_activation;                     // its argument; absent where no backward pass needs it

  // Backward: from dout to din, either of which may be the stream's gradient.
  Tensor dout;
  Tensor din;
  Tensor dstream;            // Join: the stream's gradient, where it reaches the sum past the norm
  Tensor dbranch;            // Join: din through dropout
  Tensor dx_bias;            // Join: the gradient of the bias that its branch ends with, where the norm's adds to it
  bool accumulates = false;  // din is added to
  Activation input_activation = Activation::none;  // part of the product before, whose argument's gradient din is
  Tensor input_pre_activation;
};

// Gives memory to an activation.
using TensorMaker = std::function<Tensor(std::string_view name, DType dtype, const Shape& shape)>;

struct TrainingPass::State {
  // `make` is called once for each activation, in a fixed order. `gradients` is empty in evaluate mode.
  State(Transformer& transformer, std::int64_t batch, std::int64_t seq_len, Mode mode, Recompute recompute, DType dtype,
        const Arena& gradients, const TensorMaker& make);

  // Fills everything up to final_hidden. `random_state` is absent where nothing is dropped.
  void forward(const Tensor& random_state);
  // The soft cap of products with the output head, in place; nothing without one.
  void cap(const Tensor& some_logits);
  // Losses of all rows; with `loss_scale`, the gradients of lm_head and of final_hidden (written over it) as well.
  void loss(const Tensor& loss_sum, const Tensor& loss_scale);
  // From final_hidden's gradient to every parameter's: the stages from the one before `last` down to `first`, and then
  // the embeddings.
  void backward(std::size_t first, std::size_t last, const Tensor& random_state);
  void backward_embeddings(const Tensor& random_state);

  // What goes to the output head, and then the gradient of the residual stream: one buffer through the whole backward
  // pass.
  const Tensor& final_hidden() const { return tensors.back().out; }

  Transformer& transformer;
  Backend& backend;
  const Config& config;
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t rows;  // N
  Mode mode;
  const std::vector<Stage>& stages;
  ModelWeights weights;
  ModelWeights gradients;

  Tensor tokens;   // i32 [B, T]
  Tensor targets;  // i32 [N]
  Tensor embedded;
  std::vector<StageTensors> tensors;   // of each stage in the forward pass
  std::vector<StageTensors> returned;  // of each stage in the backward pass: what was kept or is made again
  std::vector<Recomputed> recomputed;
  Tensor losses;  // f32 [N]
  Tensor logits;  // f [rows of a chunk, V']

 private:
  void make_forward(DType dtype, const TensorMaker& make);
  void make_recomputed(DType dtype, const TensorMaker& make);
  // Makes what stage i writes, in tensors, or in returned for stages that run again as part of `again`. `stream` is the
  // residual stream before the stage, and then the one behind it.
  void make_stage(std::size_t i, const Recomputed* again, Tensor& stream, DType dtype, const TensorMaker& make);
  void make_backward(DType dtype, const TensorMaker& make);
  // Rows as sequences: [B, T, columns].
  Tensor sequences(const Tensor& matrix) const { return matrix.reshape({batch, seq_len, matrix.shape()[-1]}); }
  Dropout dropout(std::uint32_t operation, const Tensor& random_state) const;

  // Runs stage i on its tensors `t`. `resumes` at the first stage that runs again.
  void forward_stage(std::size_t i, const StageTensors& t, const Tensor& random_state, bool resumes);
  void forward_norm(const StageTensors& t, const Tensor& x, const Dropout& dropout);
  void forward_heads(const NormalizeHeads& heads, const StageTensors& t);
  void backward_norm(const StageTensors& t);
  void backward_heads(const NormalizeHeads& heads, const StageTensors& t);
};

}  // namespace mslt
