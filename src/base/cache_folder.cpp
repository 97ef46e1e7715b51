// Where the user's caches are.
#include "base/cache_folder.h"

#include <cctype>
#include <cstdlib>

namespace mslt {
namespace {

#ifdef __APPLE__
constexpr std::string_view home_cache = "Library/Caches";
#else
constexpr std::string_view home_cache = ".cache";
#endif

std::filesystem::path folder_variable(const char* name) {
  const char* value = std::getenv(name);
  std::filesystem::path path = value == nullptr ? "" : value;
  // The XDG specification ignores relative paths.
  return path.is_absolute() ? path : std::filesystem::path();
}

}  // namespace

std::filesystem::path cache_folder() {
  if (std::filesystem::path cache = folder_variable("XDG_CACHE_HOME"); !cache.empty()) return cache;
  const std::filesystem::path home = folder_variable("HOME");
  return home.empty() ? home : home / home_cache;
}

std::string file_part(std::string_view name) {
  std::string part;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 128 && std::isalnum(byte) != 0) {
      part += static_cast<char>(std::tolower(byte));
    } else if (!part.empty() && part.back() != '-') {
      part += '-';
    }
  }
  return part.substr(0, 100);
}

}  // namespace mslt
