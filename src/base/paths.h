// Questions about paths and new folders, with errors that a person understands.
#pragma once

#include <filesystem>

namespace mslt {

// Whether there is something at `path`, links followed. Throws Error(io) where the system does not tell: a folder on
// the way that cannot be searched, links that lead back to themselves.
bool path_exists(const std::filesystem::path& path);

// Whether `path` is a folder, links followed. Throws as path_exists does.
bool is_folder(const std::filesystem::path& path);

// Makes `folder` and those above it where they are missing. Throws Error(io) that names it.
void make_folders(const std::filesystem::path& folder);

}  // namespace mslt
