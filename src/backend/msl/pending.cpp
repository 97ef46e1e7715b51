// Operations that have no kernels yet. A file that defines one of them properly takes its place.
#include "backend/msl/msl_backend.h"
#include "base/fail.h"

#define MSLT_PENDING(name, ...)                                                                   \
  __attribute__((weak)) void MslBackend::name(__VA_ARGS__) {                                      \
    fail(ErrorKind::device, "{}: the MSL backend has no kernels for this operation yet.", #name); \
  }

namespace mslt {

MSLT_PENDING(embedding_forward, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Positions&, float)
MSLT_PENDING(embedding_backward, const Tensor&, const Tensor&, const Tensor&, const Tensor&, float)
MSLT_PENDING(rope_forward, const Tensor&, const Tensor&, const Positions&, const AttentionShape&)
MSLT_PENDING(rope_backward, const Tensor&, const Tensor&, const Positions&, const AttentionShape&)
MSLT_PENDING(residual_norm_forward, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
             const Tensor&, const Tensor&, const Tensor&, const NormKind&, const Dropout&)
MSLT_PENDING(residual_norm_backward, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
             const Tensor&, const Tensor&, const Tensor&, const Tensor&, const NormKind&)
MSLT_PENDING(matmul_forward, const Tensor&, const Tensor&, const Tensor&, const Tensor&, Activation, const Tensor&)
MSLT_PENDING(matmul_backward_input, const Tensor&, const Tensor&, const Tensor&, Activation, const Tensor&, bool)
MSLT_PENDING(matmul_backward_weight, const Tensor&, const Tensor&, const Tensor&, const Tensor&)
MSLT_PENDING(attention_forward, const Tensor&, const Tensor&, const Tensor&, const AttentionShape&, const Dropout&)
MSLT_PENDING(attention_backward, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
             const AttentionShape&, const Dropout&)
MSLT_PENDING(activation_forward, Activation, const Tensor&, const Tensor&)
MSLT_PENDING(activation_backward, Activation, const Tensor&, const Tensor&, const Tensor&)
MSLT_PENDING(dropout_forward, const Tensor&, const Tensor&, const Dropout&)
MSLT_PENDING(dropout_backward, const Tensor&, const Tensor&, const Dropout&)
MSLT_PENDING(cross_entropy, const Tensor&, const Tensor&, const Tensor&, std::int64_t, const Tensor&)
MSLT_PENDING(sum, const Tensor&, const Tensor&, bool)
MSLT_PENDING(global_norm, const Tensor&, const Tensor&, bool)
MSLT_PENDING(adamw, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
             const Tensor&, const AdamWConfig&)
MSLT_PENDING(kv_cache_append, const KvCacheView&, const Tensor&, const Positions&, const Tensor&, const AttentionShape&)
MSLT_PENDING(attention_decode, const Tensor&, const Tensor&, const KvCacheView&, const Positions&,
             const AttentionShape&)
MSLT_PENDING(matvec, const Tensor&, const Tensor&, const Weight&, const Tensor&)
MSLT_PENDING(argmax, const Tensor&, const Tensor&, std::int64_t)
MSLT_PENDING(top_k, const Tensor&, const Tensor&, const Tensor&, std::int64_t)
MSLT_PENDING(split_qkv, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const AttentionShape&)
MSLT_PENDING(join_qkv, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const AttentionShape&)
MSLT_PENDING(cast, const Tensor&, const Tensor&)
MSLT_PENDING(fill, const Tensor&, float)
MSLT_PENDING(copy, const Tensor&, const Tensor&)
MSLT_PENDING(add, const Tensor&, const Tensor&)
MSLT_PENDING(gather_rows, const Tensor&, const Tensor&, const Tensor&)

}  // namespace mslt
