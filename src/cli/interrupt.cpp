// Signal handlers for InterruptGuard.
#include "cli/interrupt.h"

#include <csignal>

namespace mslt::cli {
namespace {

// A signal handler reaches nothing but objects of static storage.
std::atomic<bool>& interrupt_flag() {
  static std::atomic<bool> flag{false};
  static_assert(std::atomic<bool>::is_always_lock_free);
  return flag;
}

void on_signal(int signal_number) {
  interrupt_flag().store(true);
  std::signal(signal_number, SIG_DFL);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupt_flag().store(false);
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

const std::atomic<bool>& InterruptGuard::flag() const {
  return interrupt_flag();
}

}  // namespace mslt::cli
