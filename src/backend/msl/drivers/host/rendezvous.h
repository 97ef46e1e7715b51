// Where the threads of a threadgroup meet: what the metal library on the host is built from.
//
// All functions are called from inside a kernel's entry. They run on the fiber of the calling kernel thread, which they
// suspend until the others have come. Where these come somewhere else, or have returned, the whole dispatch fails with
// a message that names the kernel and file and line of each place.
#pragma once

#include <cstdint>
#include <source_location>

namespace mslt::msl::host {

// Computes what every lane gets from what every lane brought: slots[i] is lane i's, read and written. Must not suspend.
using Combine = void (*)(void* const* slots, std::uint32_t lanes);

// All lanes of the simdgroup come with a slot each; the last to come combines them, then all go on. Orders no memory.
void meet_simdgroup(const char* operation, const std::source_location& where, void* slot, Combine combine);
// All lanes of the simdgroup come; where `orders_memory`, what each wrote before is seen by all after.
void simdgroup_barrier(const std::source_location& where, bool orders_memory);
// The same for all threads of the threadgroup.
void threadgroup_barrier(const std::source_location& where, bool orders_memory);
// The calling thread's place in its simdgroup.
std::uint32_t lane_index();
// Gives the dispatch up: `what` is a mistake of the kernel, such as "component 5 of a vector of 4".
[[noreturn]] void kernel_mistake(const char* what, std::int64_t value, std::int64_t limit);

}  // namespace mslt::msl::host
