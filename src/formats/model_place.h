// Telling a model folder from what else a path may name.
#pragma once

#include <filesystem>

namespace mslt {

// Returns if the folder has a config.json. Else throws Error(io) saying what the path is - nothing, a file of another
// kind, prepared data, a run without a model so far, a folder of checkpoints or of models - and what would be valid; as
// refuse_pytorch_files.
void require_model_folder(const std::filesystem::path& path);

}  // namespace mslt
