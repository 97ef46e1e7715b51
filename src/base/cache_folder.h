// Where the user's caches are, and the names of files in them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mslt {

// $XDG_CACHE_HOME, else ~/.cache (on macOS ~/Library/Caches). Empty if neither that variable nor HOME names a folder.
std::filesystem::path cache_folder();

// A name as a part of a file's name: letters and digits in lower case, everything between them as one hyphen, 100
// characters at most.
std::string file_part(std::string_view name);

}  // namespace mslt
