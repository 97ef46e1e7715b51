// Summing up a model's tensors.
#include "formats/model_info.h"

#include <fmt/format.h>

#include "base/paths.h"
#include "formats/gguf_config.h"
#include "formats/gguf_model.h"
#include "formats/gguf_weights.h"
#include "formats/hf_weights.h"
#include "formats/packed_weights.h"
#include "formats/safetensors.h"
#include "model/parameters.h"

namespace mslt {

namespace {

void count_weights(std::map<std::string, ModelInfo::Weights>& all, std::string_view type, std::uint64_t bytes) {
  ModelInfo::Weights& weights = all[std::string(type)];
  ++weights.tensors;
  weights.bytes += bytes;
}

std::string format_of(const std::filesystem::path& folder) {
  if (path_exists(folder / "manifest.json")) return "Hugging Face folder, a checkpoint of a run";
  if (path_exists(folder / "run.json")) return "Hugging Face folder, of a run";
  return "Hugging Face folder";
}

}  // namespace

ModelInfo read_model_info(const std::filesystem::path& path) {
  ModelInfo info;
  HfConfig hf;
  if (is_gguf_file(path)) {
    const GgufFile file(path);
    info.format = fmt::format("GGUF version {}", file.contents().version());
    info.model = describe_gguf(file.contents(), hf);
    const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
    const auto pieces = gguf_pieces(hf, layout);
    const auto weights = gguf_weights(file.contents(), hf.config.tied_embeddings);
    const auto tensors = match_weights(pieces, layout, weights, file.contents().source(), info.model.notes);
    const auto packed = packed_matrices(layout, pieces, tensors);
    info.packed_matrices = static_cast<std::int64_t>(packed.size());
    for (const PackedMatrix& matrix : packed) {
      const auto elements = static_cast<std::uint64_t>(matrix.rows * matrix.columns);
      info.run_bytes += elements / 32 * (matrix.values == DType::u8 ? 20 : 34);
      info.run_bytes -= sizeof(float) * static_cast<std::uint64_t>(layout.segment(matrix.name).shape.elements());
    }
    for (const GgufTensor& tensor : file.contents().tensors())
      count_weights(info.weights, tensor.block.name, tensor.data.size());
    file.require_intact();
  } else {
    info.format = format_of(path);
    info.model = describe_folder(path, hf);
    const SafetensorsModel weights(path);
    const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
    match_weights(weight_pieces(hf.config, layout, hf.family), layout, weights.tensors(), weights.source(),
                  info.model.notes);
    for (const FileTensor& tensor : weights.tensors()) count_weights(info.weights, tensor.dtype, tensor.data.size());
  }
  info.config = hf.config;
  info.run_bytes += sizeof(float) * static_cast<std::uint64_t>(hf.config.parameter_count());
  return info;
}

std::map<std::string, ModelInfo::Weights> read_safetensors_info(const std::filesystem::path& path) {
  std::map<std::string, ModelInfo::Weights> weights;
  const SafetensorsFile file(path);
  for (const SafetensorsEntry& entry : file.entries()) {
    count_weights(weights, entry.dtype, entry.end - entry.begin);
  }
  return weights;
}

std::uint64_t cache_bytes_per_position(const Config& config) {
  return static_cast<std::uint64_t>(2 * config.layers * config.kv_heads * config.head_size) * sizeof(float);
}

}  // namespace mslt
