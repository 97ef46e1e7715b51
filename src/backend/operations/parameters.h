// Arguments of several operations other than tensors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/tensor.h"

namespace mslt {

// The last two multiply one half of a row by the other's activation: SiLU, and GELU's tanh form.
enum class Activation { none, gelu, gelu_erf, relu, swiglu, geglu };
constexpr bool is_gated(Activation activation) {
  return activation == Activation::swiglu || activation == Activation::geglu;
}

// Positions. Row (b, t) of a batch is at position first[b] + t, or at t if `first` is absent.
struct Positions {
  Tensor first = {};  // i32 [B]
};

// Counter-based dropout: element e of the operation numbered `operation` is kept if uniform(philox_word(seed, step,
// operation, e)) >= probability, and then scaled by 1 / (1 - probability).
struct Dropout {
  float probability = 0.0f;
  std::uint32_t operation = 0;
  Tensor random_state = {};  // u32 [4]: seed low, seed high, step, unused; required if probability > 0
};

struct AttentionShape {
  int heads = 1;
  int kv_heads = 1;  // divides heads; query head h reads key/value head h / (heads / kv_heads)
  int head_size = 1;
  float scale = 1.0f;  // of q·k, usually 1 / sqrt(D)
  bool causal = true;
  int window = 0;        // keys that a query sees, its own position's the last; 0 for all; only where causal
  float softcap = 0.0f;  // scaled products s become softcap · tanh(s / softcap); 0 for none

  // (H+2K)·D: columns of fused queries, keys and values.
  std::int64_t qkv_columns() const { return (std::int64_t{heads} + 2 * std::int64_t{kv_heads}) * head_size; }
  // H·D: columns of the queries and of attention's output.
  std::int64_t query_columns() const { return std::int64_t{heads} * head_size; }
  // K·D: columns of the keys, and of the values.
  std::int64_t key_columns() const { return std::int64_t{kv_heads} * head_size; }
  // FLOPs of one multiplication and addition for every channel of every pair of positions that attend to each other in
  // `batch` sequences of `steps`.
  double pair_flops(std::int64_t batch, std::int64_t steps) const {
    const auto t = static_cast<double>(steps);
    const double seen = window > 0 ? std::min<double>(window, t) : t;
    const double pairs = causal ? seen * (seen + 1.0) / 2.0 + (t - seen) * seen : t * t;
    return 2.0 * static_cast<double>(batch) * static_cast<double>(query_columns()) * pairs;
  }
};

}  // namespace mslt
