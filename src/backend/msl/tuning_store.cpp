// Finding a device's tuning.
#include "backend/msl/tuning_store.h"

#include <cctype>
#include <cstdlib>
#include <system_error>

#include "base/fail.h"

namespace mslt::msl {
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

std::filesystem::path cache_folder() {
  if (std::filesystem::path cache = folder_variable("XDG_CACHE_HOME"); !cache.empty()) return cache;
  const std::filesystem::path home = folder_variable("HOME");
  return home.empty() ? home : home / home_cache;
}

// Letters and digits in lower case; everything between them becomes one hyphen.
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

ChosenTuning tuning_of_file(const DeviceInfo& device, const std::filesystem::path& path) {
  const TuningFile file = read_tuning(path);
  if (file.backend != device.backend || file.device != device.name) {
    fail(ErrorKind::input, "{}: 'device' is '{}' on '{}', but this one is '{}' on '{}'.", path.string(), file.device,
         file.backend, device.name, device.backend);
  }
  return {.tuning = file.tuning, .origin = path.string(), .warning = {}};
}

}  // namespace

std::filesystem::path stored_tuning_file(const DeviceInfo& device) {
  const std::filesystem::path cache = cache_folder();
  if (cache.empty()) return cache;
  return cache / "mslt" / "tuning" / fmt::format("{}-{}.json", file_part(device.backend), file_part(device.name));
}

ChosenTuning table_tuning(const DeviceInfo& device) {
  const ChipFamily& family = chip_family(device);
  return {.tuning = family.tuning, .origin = fmt::format("the table's row '{}'", family.name), .warning = {}};
}

ChosenTuning choose_tuning(const DeviceInfo& device, std::string_view tuning) {
  if (tuning == "none") return table_tuning(device);
  if (tuning != "auto") return tuning_of_file(device, tuning);
  const std::filesystem::path stored = stored_tuning_file(device);
  std::error_code missing;
  if (stored.empty() || !std::filesystem::exists(stored, missing)) return table_tuning(device);
  try {
    return tuning_of_file(device, stored);
  } catch (const Error& error) {
    ChosenTuning chosen = table_tuning(device);
    chosen.warning =
        fmt::format("The stored tuning cannot be used: {} Kernels use {}; 'mslt tune --device {}' measures again.",
                    error.what(), chosen.origin, device.backend);
    return chosen;
  }
}

}  // namespace mslt::msl
