// The architectures of GGUF files beside Hugging Face's families: one table of names, keys and tensors, by which files
// are read and written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "formats/hf_config.h"
#include "formats/hf_weights.h"

namespace mslt {

// A key of an architecture and the member of config.json that says the same.
struct GgufKey {
  enum class Kind { size, real };

  std::string_view key;  // behind the architecture's name
  std::string_view member;
  Kind kind = Kind::size;
  bool is_required = true;  // else config.json's usual value, or one that follows from others
};

struct GgufArchitecture {
  std::string_view name;
  ModelFamily family;
  std::span<const GgufKey> keys;
  bool alternates = false;  // the rows of queries and keys: WeightPiece::alternating
};

// All that are read.
std::span<const GgufArchitecture> gguf_architectures();

// The architecture as which a family's models are written; null if there is none.
const GgufArchitecture* written_architecture(ModelFamily family);

// Gemma's query_pre_attn_scalar, which files do not say: the size of a head, except in the largest models, which are
// known by their number of layers.
std::int64_t gemma_scalar(ModelFamily family, std::int64_t layers, std::int64_t channels, std::int64_t heads,
                          std::int64_t head_size);

// The name of a piece of weight_pieces: "model.layers.3.mlp.up_proj.weight" is "blk.3.ffn_up.weight". Throws
// Error(input) if it has none.
std::string gguf_tensor_name(const WeightPiece& piece);

}  // namespace mslt
