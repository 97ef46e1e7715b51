// Meetings of a threadgroup's threads: the basis of the metal library on the host.
//
// All functions are called from inside a kernel's entry. They run on the fiber of the calling kernel thread and suspend
// it until the others have come. If the others reach another place or have returned, the whole dispatch fails with a
// message that names the kernel and the file and line of each place.
#pragma once

#include <cstdint>
#include <source_location>

namespace mslt::msl::host {

// Computes every lane's result from all lanes' inputs: slots[i] is lane i's, read and written. Must not suspend.
using Combine = void (*)(void* const* slots, std::uint32_t lanes);

// All lanes of the simdgroup come with one slot each; the last one combines them, then all continue. Orders no memory.
void meet_simdgroup(const char* operation, const std::source_location& where, void* slot, Combine combine);
// All lanes of the simdgroup come; if `orders_memory`, writes before it are visible to all after it.
void simdgroup_barrier(const std::source_location& where, bool orders_memory);
// The same for all threads of the threadgroup.
void threadgroup_barrier(const std::source_location& where, bool orders_memory);
// The calling thread's index in its simdgroup.
std::uint32_t lane_index();
// Aborts the dispatch: `what` is an error of the kernel, such as "component 5 of a vector of 4".
[[noreturn]] void kernel_mistake(const char* what, std::int64_t value, std::int64_t limit);

}  // namespace mslt::msl::host
