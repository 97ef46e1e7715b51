// What the host's processor is and how much memory it has.
#pragma once

#include <cstdint>
#include <string>

namespace mslt {

// The processor's name as the system tells it, or "CPU".
std::string host_processor_name();
// Bytes of memory this process may use at most: the machine's, or the limit of its control group.
std::uint64_t host_memory_bytes();
// Bytes that could be allocated now without swapping; host_memory_bytes() where the system does not tell.
std::uint64_t host_free_bytes();

}  // namespace mslt
