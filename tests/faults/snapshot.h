// The contents of a folder, byte for byte, and their changes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mslt::faults {

// Every file, folder and link below a folder by its relative path: files with their bytes, links with their target.
using Snapshot = std::map<std::string, std::string>;

// Without locks, which come and go. A missing folder is empty.
Snapshot take_snapshot(const std::filesystem::path& folder);

// One line for each difference, such as "changed run/model.safetensors"; empty if both are equal.
std::string differences(const Snapshot& before, const Snapshot& after);

// Names below `folder` that look like temporary files of a process: name.XXXXXX, name.saving-XXXXXX, name.new,
// .saving-*.
std::vector<std::string> temporary_files(const std::filesystem::path& folder);

std::string slurp(const std::filesystem::path& path);
void spill(const std::filesystem::path& path, std::string_view text);

// Inverts the bits of the byte at `position`, counted from the end if negative.
void flip_byte(const std::filesystem::path& path, std::int64_t position);

}  // namespace mslt::faults
