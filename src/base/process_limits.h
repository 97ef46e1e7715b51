// What bounds the memory, the threads and the processes of this process, in words for people.
#pragma once

#include <cstdint>
#include <string>

namespace mslt {

// How much more address space the limit on it (RLIMIT_AS, ulimit -v) lets this process map; UINT64_MAX without a limit.
std::uint64_t address_space_left();

// Why `asked` bytes cannot be had while the machine has `free` bytes free: one clause that names the limit which holds
// and what it leaves, followed by what helps. For example "the limit on this process's address space, 2.0 GiB
// (ulimit -v), leaves 0.3 GiB; raise it". Begins in lower case, without a full stop.
std::string explain_memory(std::uint64_t asked, std::uint64_t free);

// Throws Error(io): that the system, which answered with this value of errno, starts no further thread, with the limits
// that may hold and their numbers.
[[noreturn]] void fail_thread(int error);

// The same where it is not known how much was asked for.
std::string explain_out_of_memory();

// "512 bytes" or "1.5 GiB", in powers of two.
std::string binary_size(std::uint64_t bytes);

}  // namespace mslt
