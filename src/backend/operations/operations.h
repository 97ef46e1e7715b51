// Every operation of the backends, and the list of all.
//
// An operation is a value: an aggregate whose members are its tensors and settings. Its formula and shapes are above
// it, its check is next to it. Members without a default are required; an absent tensor means "without". arguments()
// lists the tensors, each with its name, its elements and whether it is read or written. All code that treats
// operations alike (checks, the memory plan, counters, drivers) uses that list. flops() and bytes(), if present, give
// the work; see work_of().
//
// Notation: B sequences, T positions each, C channels, H query heads, K key/value heads, D head size, F feed-forward
// width, V vocabulary, N = B·T rows. Matrices are row-major; weights are [out, in]. f stands for f32, bf16 or f16. All
// f tensors of a call share one dtype. Exception: kept tensors (weights and their bias, position table, cache) may be
// 16-bit with f32 activations, so a device that computes only in f32 can run 16-bit models. Statistics, losses, norms
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

using Operations = OperationList<EmbeddingForward, EmbeddingBackward, Rope, ResidualNormForward, ResidualNormBackward,
                                 MatmulForward, FusedProduct, MatmulBackwardInput, MatmulBackwardWeight,
                                 AttentionForward, AttentionBackward, KvCacheAppend, AttentionDecode, ActivationForward,
                                 ActivationBackward, DropElements, SoftCap, CrossEntropy, Sum, GlobalNorm, AdamWUpdate,
                                 Argmax, TopK, DrawTokens, Cast, Fill, Copy, Add, GatherRows>;

}  // namespace mslt
