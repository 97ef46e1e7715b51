// Copies of files, temporary names, and alternatives to names that are taken.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mslt {

// Makes `path` a copy of `source`, atomically and flushed like AtomicFile. If the file system can, the two share
// storage until one of them is written. Throws Error(io).
void write_copy(const std::filesystem::path& source, const std::filesystem::path& path);

// The pattern from which mkostemp makes the temporary file's name: "FILE.saving-XXXXXX".
std::string temporary_pattern(const std::filesystem::path& file);

// Whether `name` is that of a temporary file of `file`: "FILE.saving-" and six letters or digits. Earlier versions
// wrote "FILE." and six letters or digits; of those, names that a person might choose are not recognised.
bool is_temporary_name(std::string_view name, std::string_view file);

// `path`, or `path`-2, `path`-3 and so on if the name is taken.
std::filesystem::path unused_path(const std::filesystem::path& path);

}  // namespace mslt
