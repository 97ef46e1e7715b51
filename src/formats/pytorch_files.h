// PyTorch's own weight files, which hold programs and are never read.
#pragma once

#include <filesystem>
#include <string>

namespace mslt {

// Whether the file is one by its first bytes: a zip archive, or a pickle as old versions write it.
bool is_pytorch_file(const std::filesystem::path& path);

// Throws Error(input) if `path` is such a file, or a folder that has one and no safetensors: names it, and the command
// that converts it.
void refuse_pytorch_files(const std::filesystem::path& path);

}  // namespace mslt
