// Finding a device's tuning.
#include "backend/msl/tuning_store.h"

#include <system_error>

#include "base/cache_folder.h"
#include "base/fail.h"

namespace mslt::msl {
namespace {

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
