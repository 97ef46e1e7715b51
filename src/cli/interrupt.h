// Ctrl-C as a flag that long work looks at.
#pragma once

#include <atomic>

namespace mslt::cli {

// While it lives, the first SIGINT or SIGTERM only sets the flag; a second one ends the program as usual. One at a
// time.
class InterruptGuard {
 public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();

  const std::atomic<bool>& flag() const;
  bool interrupted() const { return flag().load(); }
};

}  // namespace mslt::cli
