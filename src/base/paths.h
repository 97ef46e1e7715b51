// Questions about paths, and new folders, with understandable errors.
#pragma once

#include <filesystem>

namespace mslt {

// Whether `path` exists, following links. Throws Error(io) if the system cannot tell: a parent folder cannot be
// searched, or links form a loop.
bool path_exists(const std::filesystem::path& path);

// Whether `path` is a folder, following links. Throws as path_exists does.
bool is_folder(const std::filesystem::path& path);

// Makes `folder` and its missing parents. Throws Error(io) that names it.
void make_folders(const std::filesystem::path& folder);

}  // namespace mslt
