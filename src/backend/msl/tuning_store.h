// Which tuning a device gets: the table's, the one that was stored for it, or a file's.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "backend/msl/driver.h"
#include "backend/msl/tuning.h"

namespace mslt::msl {

struct ChosenTuning {
  Tuning tuning;
  std::string origin;   // "the table's row 'NVIDIA Hopper'", or the file
  std::string warning;  // sentences, where a stored file was passed over
};

// Where mslt tune stores a device's tuning: mslt/tuning/BACKEND-DEVICE.json in $XDG_CACHE_HOME, else in ~/.cache (on
// macOS in ~/Library/Caches). Empty where neither that variable nor HOME names a folder.
std::filesystem::path stored_tuning_file(const DeviceInfo& device);

// The table's row.
ChosenTuning table_tuning(const DeviceInfo& device);

// By what --tuning takes: "none" for the table; "auto" for the stored file where there is one, with a warning and the
// table where it cannot be used; otherwise a file. Throws Error(io) or Error(input) where that one cannot be read or is
// of another backend, device or version.
ChosenTuning choose_tuning(const DeviceInfo& device, std::string_view tuning);

}  // namespace mslt::msl
