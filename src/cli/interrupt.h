// Signals that ask for an end, as a flag that long work looks at.
#pragma once

#include <csignal>

#include <array>
#include <atomic>
#include <string_view>

namespace mslt::cli {

// While it lives, the first SIGINT, SIGTERM or SIGHUP only sets the flag, and a later SIGINT or SIGTERM ends the
// program as usual. Signals that come within a tenth of a second count as one, since timeout(1) and shells send one to
// the program and another to its group; so does every further SIGHUP. A SIGHUP that is ignored, as under nohup, stays
// ignored. One guard at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  // What the signals did before holds again.
  ~InterruptGuard();

  const std::atomic<bool>& flag() const;
  bool interrupted() const { return flag().load(); }
  // For the end of work that does not stop halfway. Throws Error(interrupted) that begins with `done`, a sentence that
  // says what is complete, where the flag is set.
  void end_if_interrupted(std::string_view done) const;

 private:
  std::array<struct sigaction, 3> before_{};
};

// The exit status for work that the last guard's signal ended: 128 and the signal's number; SIGINT's where none came.
int interrupt_status();

}  // namespace mslt::cli
