// The host's clock.
#pragma once

#include <chrono>

namespace mslt {

// Seconds of std::chrono::steady_clock since its own beginning. Safe from any thread.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace mslt
