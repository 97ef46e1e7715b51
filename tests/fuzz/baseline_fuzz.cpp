// Fuzzes baselines of profiles: accepted ones compare with themselves, and nothing got slower.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mslt/error.h"
#include "profile/baseline.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mslt::Baseline baseline;
  try {
    baseline = mslt::parse_baseline({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const mslt::Error& error) {
    if (error.kind() != mslt::ErrorKind::input) std::abort();
    return 0;
  }
  // Does not throw: an exception ends the program.
  if (mslt::compare_baselines(baseline, baseline, 0.05).is_slower()) std::abort();
  return 0;
}
