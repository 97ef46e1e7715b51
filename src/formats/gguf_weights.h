// Our parameters as the tensors of a GGUF file.
#pragma once

#include <span>
#include <vector>

#include "base/gguf.h"
#include "formats/file_tensor.h"
#include "formats/hf_weights.h"

namespace mslt {

// weight_pieces with GGUF's names and forms: all matrices are [out, in], the rows of llama's queries and keys are in
// another order (WeightPiece::alternating), and the weights of Gemma's norms are greater by one (WeightPiece::offset).
std::vector<WeightPiece> gguf_pieces(const HfConfig& hf, const ArenaLayout& parameters);

// The tensors that hold parameters: all but RoPE's divisors, and without a second copy of the embedding if the head is
// tied.
std::vector<FileTensor> gguf_weights(const Gguf& file, bool tied);

}  // namespace mslt
