// Fuzzes tuning files: accepted ones are valid and survive being written again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "backend/msl/tuning.h"
#include "mslt/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mslt::msl::TuningFile file;
  try {
    file = mslt::msl::parse_tuning({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const mslt::Error& error) {
    if (error.kind() != mslt::ErrorKind::input) std::abort();
    return 0;
  }
  // Neither throws: an exception ends the program.
  mslt::msl::check_tuning(file.tuning, "accepted");
  const mslt::msl::TuningFile again = mslt::msl::parse_tuning(mslt::msl::format_tuning(file), "again");
  if (again.tuning != file.tuning || again.device != file.device || again.backend != file.backend) std::abort();
  return 0;
}
