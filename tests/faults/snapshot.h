// What a folder holds, byte for byte, and how that changed.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mslt::faults {

// Every file, folder and link below a folder by its path from there: files with their bytes, links with their target.
using Snapshot = std::map<std::string, std::string>;

// Locks are left out: they come and go without meaning. A folder that is not there has nothing in it.
Snapshot take_snapshot(const std::filesystem::path& folder);

// One line for each difference, such as "changed run/model.safetensors"; empty where both are the same.
std::string differences(const Snapshot& before, const Snapshot& after);

// Names below `folder` that look like what a process writes on the way to the file it means: name.XXXXXX,
// name.saving-XXXXXX, name.new, .saving-*.
std::vector<std::string> temporary_files(const std::filesystem::path& folder);

std::string slurp(const std::filesystem::path& path);
void spill(const std::filesystem::path& path, std::string_view text);

// Inverts the bits of the byte at `position`, counted from the end where negative.
void flip_byte(const std::filesystem::path& path, std::int64_t position);

}  // namespace mslt::faults
