// Signal handlers for InterruptGuard.
#include "cli/interrupt.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>

#include "base/fail.h"
#include "cli/exit_status.h"

namespace mslt::cli {
namespace {

constexpr std::array<int, 3> signals = {SIGINT, SIGTERM, SIGHUP};
constexpr std::int64_t one_signal_milliseconds = 100;

// A signal handler can only access objects of static storage.
struct State {
  std::atomic<bool> flag{false};
  std::atomic<int> signal{0};
  std::atomic<std::int64_t> milliseconds{0};  // time of the first signal
  std::atomic<const char*> answer{nullptr};
};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
              std::atomic<std::int64_t>::is_always_lock_free && std::atomic<const char*>::is_always_lock_free);

State& state() {
  static constinit State value;
  return value;
}

std::int64_t now_milliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// Nobody could be told if it failed.
void say(const char* text) {
  iovec parts[] = {{const_cast<char*>(text), std::strlen(text)}, {const_cast<char*>("\n"), 1}};
  if (::writev(STDERR_FILENO, parts, 2) < 0) return;
}

void on_signal(int number) {
  const int error = errno;
  State& seen = state();
  if (!seen.flag.load()) {
    seen.signal.store(number);
    seen.milliseconds.store(now_milliseconds());
    seen.flag.store(true);
    if (const char* const answer = seen.answer.load(); answer != nullptr) say(answer);
  } else if (number != SIGHUP && now_milliseconds() - seen.milliseconds.load() >= one_signal_milliseconds) {
    struct sigaction usual{};
    usual.sa_handler = SIG_DFL;
    ::sigaction(number, &usual, nullptr);
    ::raise(number);  // delivered when this handler returns
  }
  errno = error;
}

}  // namespace

InterruptGuard::InterruptGuard(const char* answer) {
  State& seen = state();
  seen.answer.store(answer);
  seen.flag.store(false);
  seen.signal.store(0);
  struct sigaction handled{};
  handled.sa_handler = on_signal;
  handled.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < signals.size(); ++i) {
    ::sigaction(signals[i], nullptr, &before_[i]);
    if (signals[i] == SIGHUP && before_[i].sa_handler == SIG_IGN) continue;
    ::sigaction(signals[i], &handled, nullptr);
  }
}

InterruptGuard::~InterruptGuard() {
  for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
}

const std::atomic<bool>& InterruptGuard::flag() const {
  return state().flag;
}

void InterruptGuard::end_if_interrupted(std::string_view done) const {
  if (interrupted()) fail(ErrorKind::interrupted, "{} A signal arrived meanwhile.", done);
}

int interrupt_status() {
  const int signal = state().signal.load();
  return signal_status + (signal == 0 ? SIGINT : signal);
}

}  // namespace mslt::cli
