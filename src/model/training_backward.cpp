// The backward pass of TrainingPass.
#include "model/training_state.h"

#include "base/overloaded.h"

namespace mslt {

// din = dstream + the norm's gradient of dout; its column sums are the gradient of the branch's last bias.
void TrainingPass::State::backward_norm(const StageTensors& t) {
  backend.run(ResidualNormBackward{.dsum = t.din,
                                   .dweight = t.gradients.weight,
                                   .dbias = t.gradients.bias,
                                   .dx_bias = t.dx_bias,
                                   .dout = t.dout,
                                   .dsum_direct = t.dstream,
                                   .sum = t.sum,
                                   .mean = t.mean,
                                   .rstd = t.rstd,
                                   .weight = t.weights.weight,
                                   .kind = norm_kind(config)});
}

// dout, which is din, in place.
void TrainingPass::State::backward_heads(const NormalizeHeads& heads, const StageTensors& t) {
  const auto differentiate = [&](const HeadNormTensors& part, const RowPieces& pieces, const Tensor& weight,
                                 const Tensor& dweight) {
    backend.run(ResidualNormBackward{.dsum = t.din,
                                     .dweight = dweight,
                                     .dout = t.dout,
                                     .sum = part.raw,
                                     .rstd = part.rstd,
                                     .weight = weight,
                                     .kind = head_norm_kind(config),
                                     .pieces = pieces});
  };
  differentiate(t.queries, heads.queries, t.weights.weight, t.gradients.weight);
  differentiate(t.keys, heads.keys, t.weights.key_weight, t.gradients.key_weight);
}

void TrainingPass::State::backward(std::size_t first, std::size_t last, const Tensor& random_state) {
  for (std::size_t i = last; i-- > first;) {
    for (const Recomputed& again : recomputed) {
      if (again.before != i) continue;
      for (std::size_t k = again.first; k <= again.last; ++k) {
        forward_stage(k, returned[k], random_state, k == again.first);
      }
    }
    const StageTensors& t = returned[i];
    std::visit(Overloaded{[&](const Linear&) {
                            backend.run(MatmulBackwardWeight{
                                .dweight = t.gradients.weight, .dbias = t.gradients.bias, .dout = t.dout, .in = t.in});
                            backend.run(MatmulBackwardInput{.din = t.din,
                                                            .dout = t.dout,
                                                            .weight = t.weights.weight,
                                                            .activation = t.input_activation,
                                                            .pre_activation = t.input_pre_activation,
                                                            .accumulate = t.accumulates});
                          },
                          [&](const Activate& activate) {
                            if (!activate.gated()) return;
                            backend.run(ActivationBackward{
                                .activation = activate.activation, .din = t.din, .dout = t.dout, .in = t.in});
                          },
                          [&](const NormalizeHeads& heads) { backward_heads(heads, t); },
                          [&](const Rotate& rotate) {
                            backend.run(Rope{.qkv = sequences(t.din),
                                             .inverse_frequencies = transformer.inverse_frequencies(rotate, seq_len),
                                             .shape = rotate.shape,
                                             .scale = rotate.scale,
                                             .backward = true});
                          },
                          [&](const Attend& attend) {
                            backend.run(AttentionBackward{.dqkv = sequences(t.din),
                                                          .dout = sequences(t.dout),
                                                          .qkv = sequences(t.in),
                                                          .out = sequences(t.out),
                                                          .log_sum_exp = t.log_sum_exp,
                                                          .shape = attend.shape,
                                                          .dropout = dropout(attend.dropout, random_state)});
                          },
                          [&](const Normalize&) { backward_norm(t); },
                          [&](const Join& join) {
                            if (join.normalizes) backward_norm(t);
                            if (!join.adds || !random_state) return;
                            backend.run(DropElements{
                                .out = t.dbranch, .in = t.din, .dropout = dropout(join.dropout, random_state)});
                          }},
               stages[i].kind);
  }
}

void TrainingPass::State::backward_embeddings(const Tensor& random_state) {
  const Tensor& stream = final_hidden();
  if (random_state) {
    backend.run(DropElements{.out = stream, .in = stream, .dropout = dropout(0, random_state)});
  }
  backend.run(EmbeddingBackward{.dtoken_weight = gradients.token_embedding,
                                .dposition_weight = gradients.position_embedding,
                                .dout = sequences(stream),
                                .tokens = tokens,
                                .scale = config.embedding_scale});
}

}  // namespace mslt
