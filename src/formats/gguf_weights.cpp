// Translating the names of Hugging Face's tensors into GGUF's.
#include "formats/gguf_weights.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/fail.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_config.h"

namespace mslt {
namespace {

struct GgufName {
  std::string_view theirs;  // Hugging Face's, without prefix, number of the layer, and kind
  std::string_view gguf;
};

constexpr std::array<GgufName, 6> outer_names = {{{"model.embed_tokens", "token_embd"},
                                                  {"model.norm", "output_norm"},
                                                  {"lm_head", "output"},
                                                  {"transformer.wte", "token_embd"},
                                                  {"transformer.wpe", "position_embd"},
                                                  {"transformer.ln_f", "output_norm"}}};

constexpr std::array<GgufName, 15> layer_names = {{{"self_attn.q_proj", "attn_q"},
                                                   {"self_attn.k_proj", "attn_k"},
                                                   {"self_attn.v_proj", "attn_v"},
                                                   {"self_attn.o_proj", "attn_output"},
                                                   {"mlp.gate_proj", "ffn_gate"},
                                                   {"mlp.up_proj", "ffn_up"},
                                                   {"mlp.down_proj", "ffn_down"},
                                                   {"input_layernorm", "attn_norm"},
                                                   {"post_attention_layernorm", "ffn_norm"},
                                                   {"attn.c_attn", "attn_qkv"},
                                                   {"attn.c_proj", "attn_output"},
                                                   {"mlp.c_fc", "ffn_up"},
                                                   {"mlp.c_proj", "ffn_down"},
                                                   {"ln_1", "attn_norm"},
                                                   {"ln_2", "ffn_norm"}}};

std::string translated(std::span<const GgufName> names, std::string_view theirs) {
  const auto found = std::ranges::find(names, theirs, &GgufName::theirs);
  if (found == names.end()) fail(ErrorKind::input, "The tensor '{}' has no name in GGUF files.", theirs);
  return std::string(found->gguf);
}

// "model.layers.3.mlp.up_proj.weight" is "blk.3.ffn_up.weight".
std::string gguf_name(std::string_view theirs) {
  const std::size_t end = theirs.rfind('.');
  const std::string_view kind = theirs.substr(end);
  std::string_view stem = theirs.substr(0, end);
  for (const std::string_view prefix : {"model.layers.", "transformer.h."}) {
    if (!stem.starts_with(prefix)) continue;
    stem.remove_prefix(prefix.size());
    const std::size_t dot = stem.find('.');
    return fmt::format("blk.{}.{}{}", stem.substr(0, dot), translated(layer_names, stem.substr(dot + 1)), kind);
  }
  return fmt::format("{}{}", translated(outer_names, stem), kind);
}

}  // namespace

std::vector<WeightPiece> gguf_pieces(const HfConfig& hf, const ArenaLayout& parameters) {
  std::vector<WeightPiece> pieces = weight_pieces(hf.config, parameters, hf.family);
  const bool alternates = hf.family == ModelFamily::llama || hf.family == ModelFamily::mistral;
  for (WeightPiece& piece : pieces) {
    piece.file_name = gguf_name(piece.file_name);
    piece.transposed = false;
    const bool rotates =
        piece.file_name.find(".attn_q.") != std::string::npos || piece.file_name.find(".attn_k.") != std::string::npos;
    if (alternates && rotates) piece.alternating = hf.config.head_size;
  }
  return pieces;
}

std::vector<FileTensor> gguf_weights(const Gguf& file, bool tied) {
  std::vector<FileTensor> tensors;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.name == "rope_freqs.weight" || (tied && tensor.name == "output.weight")) continue;
    tensors.push_back(
        {tensor.name, std::string(tensor.block.name), tensor.shape, tensor.data, quantised_block(tensor.block.name)});
  }
  return tensors;
}

}  // namespace mslt
