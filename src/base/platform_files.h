// What operating systems do with files each in its own way: sharing a copy's storage, and telling where a folder is.
#pragma once

#include <filesystem>
#include <optional>

namespace mslt {

// Gives the empty file `to`, open as `descriptor`, the content of `from`, with storage that both share until one of
// them is written. Returns false where the file systems cannot; `to` is then still empty. `descriptor` may be replaced.
bool clone_file(const std::filesystem::path& from, const std::filesystem::path& to, int& descriptor);

// The path by which an open file or folder is reached at present; absent where there is none or it cannot be told.
std::optional<std::filesystem::path> path_of_descriptor(int descriptor);

}  // namespace mslt
