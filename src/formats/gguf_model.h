// Models in GGUF files, with their tokenizer.
#pragma once

#include <filesystem>
#include <optional>

#include "base/gguf.h"
#include "formats/model_folder.h"

namespace mslt {

// Opens a GGUF file as load_model_folder does a folder. `dtype` is by default the file's where that is a float, else
// f32. With WeightMemory::packed, matrices stay in 8 or 4 bits where packed_matrices says so; all others are unpacked.
// The chat template becomes the chat_template.jinja among the
// files. Throws Error(input) naming the file and the key or tensor that cannot be accepted, and Error as
// load_model_folder.
LoadedModel load_gguf_model(Backend& backend, const std::filesystem::path& path, std::optional<DType> dtype,
                            WeightMemory memory = WeightMemory::copied);

// The same but the transformer, and what the file's keys say.
LoadedModel describe_gguf(const Gguf& file, HfConfig& hf);

}  // namespace mslt
