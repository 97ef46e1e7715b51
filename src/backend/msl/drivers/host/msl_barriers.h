// MSL's barriers on the host: meetings of kernel threads.
#pragma once

#include <source_location>

#include "backend/msl/drivers/host/rendezvous.h"

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) {
  return static_cast<mem_flags>(static_cast<int>(a) | static_cast<int>(b));
}

inline void threadgroup_barrier(mem_flags flags, const std::source_location& where = std::source_location::current()) {
  mslt::msl::host::threadgroup_barrier(where, flags != mem_flags::mem_none);
}
inline void simdgroup_barrier(mem_flags flags, const std::source_location& where = std::source_location::current()) {
  mslt::msl::host::simdgroup_barrier(where, flags != mem_flags::mem_none);
}

}  // namespace metal
