// Choosing the tuning of a device: the table's, the stored one, or a file's.
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
  std::string warning;  // sentences, if a stored file was skipped
};

// Where mslt tune stores a device's tuning: mslt/tuning/BACKEND-DEVICE.json in $XDG_CACHE_HOME, else in ~/.cache (on
// macOS in ~/Library/Caches). Empty if neither that variable nor HOME names a folder.
std::filesystem::path stored_tuning_file(const DeviceInfo& device);

// The table's row.
ChosenTuning table_tuning(const DeviceInfo& device);

// By the value of --tuning: "none" for the table; "auto" for the stored file if there is one, or the table with a
// warning if the file is unusable; otherwise a file. Throws Error(io) or Error(input) if that file cannot be read or is
// for another backend, device or version.
ChosenTuning choose_tuning(const DeviceInfo& device, std::string_view tuning);

}  // namespace mslt::msl
