// Signals that request an end, as a flag that long work checks.
#pragma once

#include <csignal>

#include <array>
#include <atomic>
#include <string_view>

namespace mslt::cli {

// While it lives, the first SIGINT, SIGTERM or SIGHUP only sets the flag, and a later SIGINT or SIGTERM ends the
// program as usual. Signals within a tenth of a second count as one, since timeout(1) and shells send one to the
// program and another to its group; so does every further SIGHUP. An ignored SIGHUP, as under nohup, stays ignored. One
// guard at a time.
class InterruptGuard {
 public:
  // The first signal writes `answer` and a new line to standard error, if it is given: a text that lives as long as the
  // program.
  explicit InterruptGuard(const char* answer = nullptr);
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  // Restores the previous handling of signals.
  ~InterruptGuard();

  const std::atomic<bool>& flag() const;
  bool interrupted() const { return flag().load(); }
  // For the end of work that does not stop halfway. If the flag is set, throws Error(interrupted) that begins with
  // `done`, a sentence saying what is complete.
  void end_if_interrupted(std::string_view done) const;

 private:
  std::array<struct sigaction, 3> before_{};
};

// The exit status for work ended by the last guard's signal: 128 plus the signal's number; SIGINT's if there was none.
int interrupt_status();

}  // namespace mslt::cli
