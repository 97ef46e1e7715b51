// The forward pass and the loss of TrainingPass.
#include <algorithm>

#include "model/training_state.h"

#include "base/overloaded.h"

namespace mslt {

Dropout TrainingPass::State::dropout(std::uint32_t operation, const Tensor& random_state) const {
  if (!random_state) return {};
  return {config.dropout, operation, random_state};
}

// out = norm(sum), where sum = residual + dropout(x) if there is an x.
void TrainingPass::State::forward_norm(const StageTensors& t, const Tensor& x, const Dropout& dropout) {
  backend.run(ResidualNormForward{.out = t.out,
                                  .sum = x ? t.sum : Tensor(),
                                  .mean = t.mean,
                                  .rstd = t.rstd,
                                  .residual = x ? t.residual : t.sum,
                                  .x = x,
                                  .weight = t.weights.weight,
                                  .bias = t.weights.bias,
                                  .kind = norm_kind(config),
                                  .dropout = dropout});
}

// In place; keeps what was there for the backward pass.
void TrainingPass::State::forward_heads(const NormalizeHeads& heads, const StageTensors& t) {
  const auto normalise = [&](const HeadNormTensors& part, const RowPieces& pieces, const Tensor& weight) {
    backend.run(ResidualNormForward{.out = t.out,
                                    .sum = part.raw,
                                    .rstd = part.rstd,
                                    .residual = t.in,
                                    .weight = weight,
                                    .kind = head_norm_kind(config),
                                    .pieces = pieces});
  };
  normalise(t.queries, heads.queries, t.weights.weight);
  normalise(t.keys, heads.keys, t.weights.key_weight);
}

void TrainingPass::State::forward(const Tensor& random_state) {
  const Tensor& positions = transformer.position_table() ? transformer.position_table() : weights.position_embedding;
  backend.run(EmbeddingForward{.out = sequences(embedded),
                               .tokens = tokens,
                               .token_weight = weights.token_rows.values,
                               .token_scales = weights.token_rows.scales,
                               .position_weight = positions,
                               .scale = config.embedding_scale});
  if (random_state) {
    backend.run(DropElements{.out = embedded, .in = embedded, .dropout = dropout(0, random_state)});
  }
  for (std::size_t i = 0; i < stages.size(); ++i) forward_stage(i, tensors[i], random_state, false);
}

void TrainingPass::State::forward_stage(std::size_t i, const StageTensors& t, const Tensor& random_state,
                                        bool resumes) {
  std::visit(Overloaded{[&](const Linear&) {
                          backend.run(MatmulForward{.out = t.out,
                                                    .in = t.in,
                                                    .weight = t.weights.product,
                                                    .bias = t.weights.bias,
                                                    .activation = t.activation,
                                                    .pre_activation = t.pre_activation});
                        },
                        [&](const Activate& activate) {
                          if (!activate.gated() && !resumes) return;
                          backend.run(ActivationForward{.activation = activate.activation, .out = t.out, .in = t.in});
                        },
                        [&](const NormalizeHeads& heads) { forward_heads(heads, t); },
                        [&](const Rotate& rotate) {
                          backend.run(Rope{.qkv = sequences(t.out),
                                           .inverse_frequencies = transformer.inverse_frequencies(rotate, seq_len),
                                           .shape = rotate.shape,
                                           .scale = rotate.scale});
                        },
                        [&](const Attend& attend) {
                          backend.run(AttentionForward{.out = sequences(t.out),
                                                       .log_sum_exp = t.log_sum_exp,
                                                       .qkv = sequences(t.in),
                                                       .shape = attend.shape,
                                                       .dropout = dropout(attend.dropout, random_state)});
                        },
                        [&](const Normalize&) { forward_norm(t, {}, {}); },
                        [&](const Join& join) {
                          const bool adds = join.adds && !resumes;
                          const Dropout dropped = dropout(join.dropout, random_state);
                          if (join.normalizes) {
                            forward_norm(t, adds ? t.in : Tensor(), adds ? dropped : Dropout());
                            return;
                          }
                          if (resumes) return;
                          if (random_state) {
                            backend.run(DropElements{.out = t.in, .in = t.in, .dropout = dropped});
                          }
                          backend.run(Copy{.out = t.sum, .in = t.residual});
                          backend.run(Add{.out = t.sum, .in = t.in});
                        }},
             stages[i].kind);
}

void TrainingPass::State::cap(const Tensor& some_logits) {
  if (config.logit_softcap == 0) return;
  backend.run(SoftCap{.out = some_logits, .in = some_logits, .cap = config.logit_softcap});
}

void TrainingPass::State::loss(const Tensor& loss_sum, const Tensor& loss_scale) {
  const std::int64_t chunk = logits.shape()[0];
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t count = std::min(chunk, rows - begin);
    const Tensor hidden = final_hidden().slice(begin, count);
    const Tensor chunk_logits = logits.slice(0, count);
    backend.run(MatmulForward{.out = chunk_logits, .in = hidden, .weight = weights.padded_lm_head});
    cap(chunk_logits);
    backend.run(CrossEntropy{.losses = losses.slice(begin, count),
                             .logits = chunk_logits,
                             .targets = targets.slice(begin, count),
                             .vocab = config.vocab_size,
                             .loss_scale = loss_scale,
                             .softcap = config.logit_softcap});
    if (!loss_scale) continue;
    backend.run(MatmulBackwardWeight{.dweight = gradients.padded_lm_head.values, .dout = chunk_logits, .in = hidden});
    backend.run(MatmulBackwardInput{.din = hidden, .dout = chunk_logits, .weight = weights.padded_lm_head.values});
  }
  backend.run(Sum{.out = loss_sum, .in = losses, .accumulate = true});
}

}  // namespace mslt
