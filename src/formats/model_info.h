// What the files of a model say, without loading its weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "formats/model_folder.h"

namespace mslt {

struct ModelInfo {
  struct Weights {
    std::int64_t tensors = 0;
    std::uint64_t bytes = 0;
  };

  std::string format;  // "Hugging Face folder", which may be that of a run or a checkpoint, or "GGUF version 3"
  Config config;
  LoadedModel model;                       // without a transformer
  std::map<std::string, Weights> weights;  // by the type of their elements, in safetensors' or GGUF's spelling
  std::int64_t packed_matrices = 0;        // of a GGUF file, which stay in 8 or 4 bits when the model runs
  std::uint64_t run_bytes = 0;             // what its parameters take then in f32, but these
};

// Reads a folder or a GGUF file as load_model_folder does, all but the values of weights. Throws as it does.
ModelInfo read_model_info(const std::filesystem::path& path);

// The tensors of one safetensors file by the type of their elements. Throws as SafetensorsFile does.
std::map<std::string, ModelInfo::Weights> read_safetensors_info(const std::filesystem::path& path);

// Bytes that a position takes in a KV cache of f32 elements.
std::uint64_t cache_bytes_per_position(const Config& config);

}  // namespace mslt
