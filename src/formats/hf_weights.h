// Our parameters as the tensors of a Hugging Face model's weight files, in both directions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/file.h"
#include "formats/file_tensor.h"
#include "formats/hf_config.h"
#include "model/transformer.h"
#include "tensor/arena.h"

namespace mslt {

// One tensor of a weight file: `rows` rows of a parameter starting at `first_row`, as they are or transposed. Other
// formats are other lists of these.
struct WeightPiece {
  std::string file_name;
  std::string parameter;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  bool transposed = false;  // the file stores [in, out]
  // Rows per head if the file has a head's rows in another order: those of its first and second half alternate.
  std::int64_t alternating = 0;
  float offset = 0.0f;  // by which the file's numbers are greater

  // The parameter's row, counted from first_row, that is row `row` of the file.
  std::int64_t row_of(std::int64_t row) const {
    if (alternating == 0) return row;
    const std::int64_t in_head = row % alternating;
    return row - in_head + in_head % 2 * (alternating / 2) + in_head / 2;
  }
};

// The tensors of a model of `family` with these parameters (model/parameters.h), in the order of the parameters:
//   gpt2           transformer.h.N.attn.c_attn.weight and so on; matrices are [in, out] in the file
//   mslt           our own names and shapes
//   others         model.layers.N.self_attn.q_proj.weight, k_proj, v_proj are rows of qkv; mlp.gate_proj, up_proj are
//                  rows of ffn_up; in phi3, qkv_proj and gate_up_proj are all of them
// A tied output head is not a tensor.
std::vector<WeightPiece> weight_pieces(const Config& config, const ArenaLayout& parameters, ModelFamily family);

// Finds each piece among `tensors`; element i of the result belongs to piece i. Names may lack the prefix
// "transformer." or "model.", as in files of the bare model, and may contain "_orig_mod." and "module." from PyTorch's
// wrappers. A model with a tied output head may have only the head instead of its embedding. Ignores tensors without
// parameters: the causal masks of old GPT-2 files, RoPE's inverse frequencies, an output head in addition to the
// embedding that it is tied to. Adds a sentence to `notes` for wrapper prefixes and for F64, which is rounded. Throws
// Error(input) naming `source` and the first ten tensors that are missing, unexpected, of another shape, or of a dtype
// other than F32, BF16, F16, F64 and quantised_block's; or two that differ only in wrapper prefixes.
std::vector<const FileTensor*> match_weights(std::span<const WeightPiece> pieces, const ArenaLayout& parameters,
                                             std::span<const FileTensor> tensors, std::string_view source,
                                             std::vector<std::string>& notes);

// Uploads every piece whose parameter is neither mapped nor packed into `parameters`, converting from the file's dtype
// to theirs; quantised blocks become floats first. `tensors` is match_weights's result. Throws Error(numeric) naming
// the tensor if a number is beyond the range of the parameters' type. Uses a few megabytes in addition to the mapped
// file and the parameters.
void load_weights(Backend& backend, const Arena& parameters, std::span<const WeightPiece> pieces,
                  std::span<const FileTensor* const> tensors);

// The shape of a piece in the file.
std::vector<std::uint64_t> file_shape(const WeightPiece& piece, const ArenaLayout& parameters);

// Called after each few megabytes of a model's weights with how many bytes were just written. What it throws ends the
// writing, of which nothing is left.
using WriteProgress = std::function<void(std::uint64_t bytes)>;

// Writes all pieces as one safetensors file with elements of `dtype` (f32, bf16 or f16), one tensor at a time; does not
// commit `file`. Throws Error(io) if the disk is full, Error(numeric) naming a tensor with numbers beyond the range of
// `dtype`; as `progress`.
void save_weights(AtomicFile& file, const Transformer& model, std::span<const WeightPiece> pieces, DType dtype,
                  const WriteProgress& progress = {});

}  // namespace mslt
