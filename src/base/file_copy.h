// Copies of files, and the names that files have while they are made or where a name is taken.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mslt {

// Makes `path` a copy of `source`, at once and flushed as AtomicFile does it; the two share storage until one of them
// is written, where the file system can do that. Throws Error(io).
void write_copy(const std::filesystem::path& source, const std::filesystem::path& path);

// What mkostemp makes the name of the temporary file of: "FILE.saving-XXXXXX".
std::string temporary_pattern(const std::filesystem::path& file);

// Whether `name` is one of a temporary file of `file`: "FILE.saving-" and six letters or digits. Versions before wrote
// "FILE." and six letters or digits; of those, names that a person might choose are not told.
bool is_temporary_name(std::string_view name, std::string_view file);

// `path`, or where something has that name already, `path`-2, `path`-3 and so on.
std::filesystem::path unused_path(const std::filesystem::path& path);

}  // namespace mslt
