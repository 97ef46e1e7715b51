// Every operation of the backends, and the list that names them all.
//
// An operation is a value: an aggregate whose members are its tensors and settings. Its formula and its shapes stand
// above it, its check beside it. Members without a default are required; a tensor that is absent stands for "without".
// arguments() lists the tensors, each with its name, its elements and whether it is read or written; whatever treats
// operations alike (checks, the memory plan, counters, drivers) goes by that list. Where they have it, flops() and
// bytes() say what they do; see work_of().
//
// Notation: B sequences, T positions each, C channels, H query heads, K key/value heads, D head size, F feed-forward
// width, V vocabulary, N = B·T rows. Matrices are row-major; weights are [out, in]. f stands for f32, bf16 or f16, and
// all f tensors of a call share one dtype; kept tensors (weights and their bias, position table, cache) may be 16-bit
// beside f32 activations, so that a device which computes in f32 alone runs 16-bit models. Statistics, losses, norms
// and optimiser moments are f32, and so is all arithmetic.
#pragma once

#include "backend/operations/activation.h"
#include "backend/operations/attention.h"
#include "backend/operations/embedding.h"
#include "backend/operations/layout.h"
#include "backend/operations/linear.h"
#include "backend/operations/loss.h"
#include "backend/operations/norm.h"
#include "backend/operations/optimizer.h"
#include "backend/operations/sampling.h"

namespace mslt {

template <class... Ops>
struct OperationList {};

using Operations =
    OperationList<EmbeddingForward, EmbeddingBackward, Rope, ResidualNormForward, ResidualNormBackward, MatmulForward,
                  MatmulBackwardInput, MatmulBackwardWeight, AttentionForward, AttentionBackward, KvCacheAppend,
                  AttentionDecode, ActivationForward, ActivationBackward, DropElements, CrossEntropy, Sum, GlobalNorm,
                  AdamWUpdate, Argmax, TopK, SplitQkv, JoinQkv, Cast, Fill, Copy, Add, GatherRows>;

}  // namespace mslt
