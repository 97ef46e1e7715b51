// Keeps a file that shrinks while it is mapped from ending the process.
#pragma once

#include <cstddef>

namespace mslt {

// A range of addresses that is guarded; never destroyed, but used again.
class GuardedRange;

// Guards [begin, begin + bytes), which starts at a page, until unguard_range. Where a page of it cannot be read (the
// file has become shorter, or its disk fails), it and all pages behind it hold zeros from then on, and the range counts
// as damaged. The first call installs a handler of SIGBUS; faults elsewhere go to the handler that was there before.
// Safe to call from several threads.
GuardedRange* guard_range(const void* begin, std::size_t bytes);

// To be called before the range is unmapped. Does nothing for nullptr.
void unguard_range(GuardedRange* range) noexcept;

// Whether zeros have taken the place of bytes in the range, in anything that was read before the call.
bool is_damaged(const GuardedRange& range) noexcept;

// Makes is_damaged true until the range is given up.
void mark_damaged(GuardedRange& range) noexcept;

}  // namespace mslt
