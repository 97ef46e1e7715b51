// Summing up a model's tensors.
#include "formats/model_info.h"

#include <fmt/format.h>

#include "formats/gguf_config.h"
#include "formats/gguf_model.h"
#include "formats/gguf_weights.h"
#include "formats/hf_weights.h"
#include "formats/safetensors.h"
#include "model/parameters.h"

namespace mslt {

ModelInfo read_model_info(const std::filesystem::path& path) {
  ModelInfo info;
  const auto count = [&](std::string_view type, std::uint64_t bytes) {
    ModelInfo::Weights& weights = info.weights[std::string(type)];
    ++weights.tensors;
    weights.bytes += bytes;
  };
  HfConfig hf;
  if (is_gguf_file(path)) {
    const GgufFile file(path);
    info.format = fmt::format("GGUF version {}", file.contents().version());
    info.model = describe_gguf(file.contents(), hf);
    const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
    match_weights(gguf_pieces(hf, layout), layout, gguf_weights(file.contents(), hf.config.tied_embeddings),
                  file.contents().source(), info.model.notes);
    for (const GgufTensor& tensor : file.contents().tensors()) count(tensor.block.name, tensor.data.size());
    file.require_intact();
  } else {
    info.format = "Hugging Face folder";
    info.model = describe_folder(path, hf);
    const SafetensorsModel weights(path);
    const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
    match_weights(weight_pieces(hf.config, layout, hf.family), layout, weights.tensors(), weights.source(),
                  info.model.notes);
    for (const FileTensor& tensor : weights.tensors()) count(tensor.dtype, tensor.data.size());
  }
  info.config = hf.config;
  return info;
}

std::uint64_t cache_bytes_per_position(const Config& config) {
  return static_cast<std::uint64_t>(2 * config.layers * config.kv_heads * config.head_size) * sizeof(float);
}

}  // namespace mslt
