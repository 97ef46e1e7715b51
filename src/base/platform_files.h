// File operations that differ between operating systems: sharing a copy's storage, and finding an open folder's path.
#pragma once

#include <filesystem>
#include <optional>

namespace mslt {

// Gives the empty file `to`, open as `descriptor`, the content of `from`; both share storage until one of them is
// written. Returns false if the file systems cannot do that; `to` is then still empty. May replace `descriptor`.
bool clone_file(const std::filesystem::path& from, const std::filesystem::path& to, int& descriptor);

// The current path of an open file or folder; absent if there is none or it cannot be determined.
std::optional<std::filesystem::path> path_of_descriptor(int descriptor);

}  // namespace mslt
