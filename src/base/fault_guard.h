// Keeps the process alive when a mapped file shrinks.
#pragma once

#include <cstddef>

namespace mslt {

// A guarded range of addresses; never destroyed, but reused.
class GuardedRange;

// Guards [begin, begin + bytes), which starts at a page, until unguard_range. If a page of it cannot be read (the file
// was shortened, or its disk fails), that page and all pages after it hold zeros from then on, and the range counts as
// damaged. The first call installs a SIGBUS handler; faults elsewhere go to the previous handler. Safe to call from
// several threads.
GuardedRange* guard_range(const void* begin, std::size_t bytes);

// Call before the range is unmapped. Does nothing for nullptr.
void unguard_range(GuardedRange* range) noexcept;

// Whether zeros replaced bytes of the range in anything read before the call.
bool is_damaged(const GuardedRange& range) noexcept;

// Makes is_damaged true until the range is released.
void mark_damaged(GuardedRange& range) noexcept;

}  // namespace mslt
