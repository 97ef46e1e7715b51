// Which tensors a GGUF file has, and in which form.
#include "formats/gguf_weights.h"

#include <algorithm>
#include <string>

#include "formats/gguf_architectures.h"
#include "formats/gguf_blocks.h"

namespace mslt {

std::vector<WeightPiece> gguf_pieces(const HfConfig& hf, const ArenaLayout& parameters) {
  std::vector<WeightPiece> pieces = weight_pieces(hf.config, parameters, hf.family);
  const auto known = std::ranges::find(gguf_architectures(), hf.family, &GgufArchitecture::family);
  const bool alternates = known != gguf_architectures().end() && known->alternates;
  for (WeightPiece& piece : pieces) {
    piece.file_name = gguf_tensor_name(piece);
    piece.transposed = false;
    const bool rotates =
        piece.file_name.find(".attn_q.") != std::string::npos || piece.file_name.find(".attn_k.") != std::string::npos;
    if (alternates && rotates) piece.alternating = hf.config.head_size;
    if (piece.parameter.ends_with("norm.weight")) piece.offset = hf.config.norm_weight_offset;
  }
  return pieces;
}

std::vector<FileTensor> gguf_weights(const Gguf& file, bool tied) {
  std::vector<FileTensor> tensors;
  for (const GgufTensor& tensor : file.tensors()) {
    // Factors of RoPE's frequencies.
    if (tensor.name.starts_with("rope_f") || (tied && tensor.name == "output.weight")) continue;
    tensors.push_back(
        {tensor.name, std::string(tensor.block.name), tensor.shape, tensor.data, quantised_block(tensor.block.name)});
  }
  return tensors;
}

}  // namespace mslt
