// Reading whole folders.
#include "tests/faults/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace mslt::faults {
namespace fs = std::filesystem;

Snapshot take_snapshot(const fs::path& folder) {
  Snapshot snapshot;
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(folder, error); entry != fs::end(entry); entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.filename() == ".lock") continue;
    const std::string name = path.lexically_relative(folder).string();
    if (entry->is_symlink()) {
      snapshot[name] = "link to " + fs::read_symlink(path).string();
    } else if (entry->is_directory()) {
      snapshot[name] = "folder";
    } else {
      snapshot[name] = "file " + slurp(path);
    }
  }
  return snapshot;
}

std::string differences(const Snapshot& before, const Snapshot& after) {
  std::string lines;
  for (const auto& [name, content] : before) {
    const auto found = after.find(name);
    if (found == after.end()) {
      lines += fmt::format("removed {}\n", name);
    } else if (found->second != content) {
      lines += fmt::format("changed {} ({} bytes, before {})\n", name, found->second.size(), content.size());
    }
  }
  for (const auto& [name, content] : after) {
    if (!before.contains(name)) lines += fmt::format("added {}\n", name);
  }
  return lines;
}

std::vector<std::string> temporary_files(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& [path, content] : take_snapshot(folder)) {
    const std::string name = fs::path(path).filename().string();
    const std::string extension = fs::path(path).extension().string();
    // TensorBoard's file names end in a unique number.
    if (name.starts_with("events.")) continue;
    const bool random = extension.size() == 7 && std::all_of(extension.begin() + 1, extension.end(), [](char c) {
                          return std::isalnum(static_cast<unsigned char>(c)) != 0;
                        });
    if (random || extension == ".new" || extension == ".tmp" || name.find(".saving-") != std::string::npos) {
      names.push_back(path);
    }
  }
  return names;
}

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void spill(const fs::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw std::runtime_error(fmt::format("cannot write {}", path.string()));
}

void flip_byte(const fs::path& path, std::int64_t position) {
  std::string text = slurp(path);
  const auto size = static_cast<std::int64_t>(text.size());
  const std::int64_t index = position < 0 ? size + position : position;
  if (index < 0 || index >= size) throw std::runtime_error(fmt::format("{} has no byte {}", path.string(), position));
  text[static_cast<std::size_t>(index)] = static_cast<char>(~text[static_cast<std::size_t>(index)]);
  // In place, so a file with two names is damaged under both.
  spill(path, text);
}

}  // namespace mslt::faults
