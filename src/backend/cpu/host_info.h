// The host's processor and memory size.
#pragma once

#include <cstdint>
#include <string>

namespace mslt {

// The processor's name according to the system, or "CPU".
std::string host_processor_name();
// The most bytes of memory this process may use: the machine's, or the limit of its control group.
std::uint64_t host_memory_bytes();
// Bytes that could be allocated now without swapping; host_memory_bytes() if the system does not say.
std::uint64_t host_free_bytes();

}  // namespace mslt
