// The host's processor and memory size, from Linux's /proc and /sys if they exist.
#include "backend/cpu/host_info.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string_view>

namespace mslt {
namespace {

// The rest of the first line of `path` that begins with `key`, after blanks, tabs and colons.
std::optional<std::string> find_line(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t begin = line.find_first_not_of(" \t:", key.size());
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> find_number(const char* path, std::string_view key) {
  const std::optional<std::string> text = find_line(path, key);
  if (!text) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

std::uint64_t physical_bytes() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::optional<std::uint64_t> group_limit() {
  return find_number("/sys/fs/cgroup/memory.max", "");
}

}  // namespace

std::string host_processor_name() {
  return find_line("/proc/cpuinfo", "model name").value_or("CPU");
}

std::uint64_t host_memory_bytes() {
  return std::min(physical_bytes(), group_limit().value_or(UINT64_MAX));
}

std::uint64_t host_free_bytes() {
  std::uint64_t free = physical_bytes();
  if (const auto available = find_number("/proc/meminfo", "MemAvailable:")) free = *available * 1024;
  const auto limit = group_limit();
  const auto used = find_number("/sys/fs/cgroup/memory.stat", "anon ");
  if (limit && used) free = std::min(free, *limit > *used ? *limit - *used : 0);
  return free;
}

}  // namespace mslt
