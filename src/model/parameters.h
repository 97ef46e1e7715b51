// Parameters: the named weights of a model in one arena.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "model/stages.h"
#include "tensor/arena.h"

namespace mslt {

// The table of a model's parameters. Segments under weight decay (all matrices but embeddings) come first, so that
// AdamW is one range with decay and one without. With i from 0 to layers - 1:
//   layers.i.qkv.weight [(H+2K)·D, C]   rows: queries, keys, values      layers.i.qkv.bias [(H+2K)·D]
//   layers.i.attention_out.weight [C, H·D]                               layers.i.attention_out.bias [C]
//   layers.i.ffn_up.weight [F, C], or [2F, C] where gated: gate, then up  layers.i.ffn_up.bias
//   layers.i.ffn_down.weight [C, F]                                      layers.i.ffn_down.bias [C]
//   lm_head.weight [V, C]               unless tied
//   token_embedding.weight [V, C], position_embedding.weight [P, C] (learned positions only)
//   layers.i.attention_norm.weight/.bias [C], layers.i.ffn_norm.weight/.bias [C]           all but "output" norms
//   layers.i.attention_out_norm.weight/.bias [C], layers.i.ffn_out_norm.weight/.bias [C]   "sandwich" and "output"
//   layers.i.q_norm.weight, layers.i.k_norm.weight   [D], or [H·D] and [K·D] over whole rows; optional
//   final_norm.weight/.bias [C]         all but "post" norms
// The names come from the stages of stages.h. A configuration may leave out biases. The matrix of the output head has
// spare rows, see weights.h.
struct ParameterLayout {
  ArenaLayout arena;
  std::size_t decayed = 0;  // the first `decayed` segments take weight decay
};
ParameterLayout parameter_layout(const Config& config, DType dtype);

// Writes initial weights into `parameters`, which must be in host memory or is uploaded segment by segment: matrices
// and embeddings normal with deviation 0.02, those that close a residual branch (attention_out, ffn_down) with 0.02 /
// sqrt(2 · layers), norm weights 1 with their
// offset, biases 0. Each segment draws from its own Philox stream, so that a value depends on
// (seed, name, element) alone and not on the order or the dtype.
void initialize_parameters(Backend& backend, const Config& config, const Arena& parameters, std::uint64_t seed);

}  // namespace mslt
