// The limits on memory, threads and processes of this process, in words for people.
#pragma once

#include <cstdint>
#include <string>

namespace mslt {

// Address space that the limit (RLIMIT_AS, ulimit -v) still allows this process; UINT64_MAX without a limit.
std::uint64_t address_space_left();

// Why `asked` bytes are unavailable while the machine has `free` bytes free: one clause that names the effective limit
// and what it leaves, then what helps. For example "the limit on this process's address space, 2.0 GiB (ulimit -v),
// leaves 0.3 GiB; raise it". Begins in lower case, without a full stop.
std::string explain_memory(std::uint64_t asked, std::uint64_t free);

// Throws Error(io): the system refused to start another thread, with this errno; names the limits that may apply and
// their numbers.
[[noreturn]] void fail_thread(int error);

// Raises this process's limit on descriptors (RLIMIT_NOFILE, ulimit -n) to `count` if it is lower and the system allows
// that. Returns how many it then may have.
std::uint64_t allow_descriptors(std::uint64_t count);

// The same as explain_memory for an unknown amount.
std::string explain_out_of_memory();

// "512 bytes" or "1.5 GiB", in powers of two.
std::string binary_size(std::uint64_t bytes);

}  // namespace mslt
