// Checks of the operations' arguments that all backends share: shapes, dtypes, presence and overlap.
//
// One function an operation, with the operation's own parameters. Each throws Error(input) naming the operation, the
// argument, what it is and what it should be; none reads a tensor's elements. A matrix [N, C] may have its rows split
// into several leading dimensions, as [B, T, C]. Safe to call from several threads.
#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace mslt {

void check_embedding_forward(const Tensor& out, const Tensor& tokens, const Tensor& token_weight,
                             const Tensor& position_weight, const Positions& positions);
void check_embedding_backward(const Tensor& dtoken_weight, const Tensor& dposition_weight, const Tensor& dout,
                              const Tensor& tokens);

// Both directions of rope.
void check_rope(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                const AttentionShape& shape);

void check_residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                 const Tensor& residual, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                 const NormKind& kind, const Dropout& dropout);
void check_residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                                  const Tensor& dsum_direct, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                  const Tensor& weight, const NormKind& kind);

void check_matmul_forward(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor& bias,
                          Activation activation, const Tensor& pre_activation);
void check_matmul_backward_input(const Tensor& din, const Tensor& dout, const Tensor& weight, Activation activation,
                                 const Tensor& pre_activation);
void check_matmul_backward_weight(const Tensor& dweight, const Tensor& dbias, const Tensor& dout, const Tensor& in);

void check_attention_forward(const Tensor& out, const Tensor& log_sum_exp, const Tensor& qkv,
                             const AttentionShape& shape, const Dropout& dropout);
void check_attention_backward(const Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                              const Tensor& log_sum_exp, const AttentionShape& shape, const Dropout& dropout);

void check_activation_forward(Activation activation, const Tensor& out, const Tensor& in);
void check_activation_backward(Activation activation, const Tensor& din, const Tensor& dout, const Tensor& in);
// Both directions of dropout.
void check_dropout(const Tensor& out, const Tensor& in, const Dropout& dropout);

void check_cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets, std::int64_t vocab,
                         const Tensor& loss_scale);
void check_sum(const Tensor& out, const Tensor& in);

void check_global_norm(const Tensor& out, const Tensor& gradients);
void check_adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment,
                 const Tensor& second_moment, const Tensor& master, const Tensor& state, const Tensor& norm,
                 const AdamWConfig& config);

void check_kv_cache_append(const KvCacheView& cache, const Tensor& qkv, const Positions& positions,
                           const Tensor& counts, const AttentionShape& shape);
void check_attention_decode(const Tensor& out, const Tensor& qkv, const KvCacheView& cache, const Positions& positions,
                            const AttentionShape& shape);
void check_matvec(const Tensor& out, const Tensor& in, const Weight& weight, const Tensor& bias);
void check_argmax(const Tensor& out, const Tensor& logits, std::int64_t vocab);
void check_top_k(const Tensor& values, const Tensor& indices, const Tensor& logits, std::int64_t vocab);

void check_split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv, const AttentionShape& shape);
void check_join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape);
void check_cast(const Tensor& out, const Tensor& in);
void check_fill(const Tensor& out);
void check_copy(const Tensor& out, const Tensor& in);
void check_add(const Tensor& out, const Tensor& in);
void check_gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices);

}  // namespace mslt
