// Model folders: config.json, model.safetensors, tokenizer.json, tokenizer_config.json and generation_config.json, as
// transformers reads and writes them (docs/file-formats.md).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "backend/backend.h"
#include "formats/generation_config.h"
#include "formats/hf_config.h"
#include "model/transformer.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct LoadedModel {
  std::unique_ptr<Transformer> transformer;
  std::optional<Tokenizer> tokenizer;  // absent where the folder has no tokenizer.json
  GenerationSettings generation;  // special tokens: generation_config.json's, else config.json's, else the tokenizer's
  ModelFamily family = ModelFamily::mslt;
};

// Whether parameters are copied into the device's memory, or those that the file holds just as the device needs them
// are read where the file is mapped: that starts sooner and takes less memory, but such parameters can only be read,
// and the file must stay as it is.
enum class WeightMemory { copied, mapped };

// Opens a folder that transformers, train or save_model_folder wrote. Parameters get `dtype`, or the file's where none
// is given. Everything is checked before memory for the parameters is taken. Throws Error(io) where config.json or the
// weights are missing; Error(input) naming file and member or tensor where they cannot be accepted, or where the
// tokenizer has more tokens than the model; Error(numeric) naming a tensor that holds NaN or an infinity; Error(memory)
// where the model does not fit.
LoadedModel load_model_folder(Backend& backend, const std::filesystem::path& folder,
                              std::optional<DType> dtype = std::nullopt, WeightMemory memory = WeightMemory::copied);

struct SaveModelOptions {
  std::optional<DType> dtype;     // of the file; the parameters' where absent
  GenerationSettings generation;  // special tokens not given here are the tokenizer's
};

// Writes the folder, creating it where needed; without a tokenizer, none of its files are written. Every file is
// written under a temporary name before the first is flushed and renamed, so that a full disk leaves the folder as it
// was. Throws Error(io); Error(input) where the tokenizer has more tokens than the model.
void save_model_folder(const std::filesystem::path& folder, const Transformer& transformer, const Tokenizer* tokenizer,
                       const SaveModelOptions& options = {});

}  // namespace mslt
