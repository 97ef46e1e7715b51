// A SIGBUS handler over a table of ranges that it reads without locks.
#include "base/fault_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "base/fail.h"
#include "base/system_error.h"

namespace mslt {

// An entry of the table. The version is odd while begin and end change, so the handler never combines the begin of one
// range with the end of another. The entry of the range with the fault does not change meanwhile, since its reader
// keeps it.
class GuardedRange {
 public:
  void set(std::uintptr_t begin, std::uintptr_t end, std::uintptr_t page) noexcept {
    version_.fetch_add(1, std::memory_order_acq_rel);
    begin_.store(begin);
    end_.store(end);
    page_.store(page);
    damaged_.store(false);
    version_.fetch_add(1, std::memory_order_acq_rel);
  }

  bool holds(std::uintptr_t address) const noexcept {
    const std::uint32_t version = version_.load();
    const bool inside = address >= begin_.load() && address < end_.load();
    return inside && version % 2 == 0 && version_.load() == version;
  }

  std::uintptr_t page_of(std::uintptr_t address) const noexcept { return address & ~(page_.load() - 1); }
  std::uintptr_t end() const noexcept { return end_.load(); }

  std::atomic<bool> damaged_ = false;
  std::atomic<bool> used_ = false;
  GuardedRange* next_ = nullptr;  // fixed once the entry is in the table

 private:
  std::atomic<std::uint32_t> version_ = 0;
  std::atomic<std::uintptr_t> begin_ = 0;
  std::atomic<std::uintptr_t> end_ = 0;
  std::atomic<std::uintptr_t> page_ = 1;
};

static_assert(std::atomic<std::uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "A signal handler reads these.");

namespace {

// A signal handler can reach only global state.
constinit std::atomic<GuardedRange*> first_range = nullptr;
struct sigaction previous_action;

#ifdef __linux__
// The bare system call: ThreadSanitizer treats mmap as a write that races with other readers of the range.
bool map_zeros(std::uintptr_t begin, std::uintptr_t end) noexcept {
  return ::syscall(SYS_mmap, begin, end - begin, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) >= 0;
}
#else
bool map_zeros(std::uintptr_t begin, std::uintptr_t end) noexcept {
  return ::mmap(reinterpret_cast<void*>(begin), end - begin, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) != MAP_FAILED;
}
#endif

// Maps zeros where a guarded range cannot be read; false if no range contains the address.
bool cover(std::uintptr_t address) noexcept {
  for (GuardedRange* range = first_range.load(); range != nullptr; range = range->next_) {
    if (!range->used_.load() || !range->holds(address)) continue;
    // Set before the zeros appear, so whoever reads them sees the mark.
    range->damaged_.store(true);
    return map_zeros(range->page_of(address), range->end());
  }
  return false;
}

void pass_on(int signal, siginfo_t* info, void* context) noexcept {
  const bool sent = info->si_code <= 0;  // by a process, not by a fault
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler == SIG_IGN && sent) {
    return;
  } else if (previous_action.sa_handler == SIG_DFL || previous_action.sa_handler == SIG_IGN) {
    // The fault repeats when this handler returns; a sent signal does not.
    struct sigaction standard{};
    standard.sa_handler = SIG_DFL;
    ::sigaction(signal, &standard, nullptr);
    if (sent) ::raise(signal);
  } else {
    previous_action.sa_handler(signal);
  }
}

extern "C" void mslt_on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  if (info->si_code <= 0 || !cover(reinterpret_cast<std::uintptr_t>(info->si_addr))) pass_on(signal, info, context);
  errno = error;
}

void install_handler() {
  struct sigaction action{};
  action.sa_sigaction = mslt_on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  // Read first: a fault may come as soon as the new handler is installed.
  if (::sigaction(SIGBUS, nullptr, &previous_action) != 0 || ::sigaction(SIGBUS, &action, nullptr) != 0) {
    fail(ErrorKind::io, "Cannot handle the faults of mapped files: {}.", explain_errno(errno));
  }
}

GuardedRange& unused_range() {
  for (GuardedRange* range = first_range.load(); range != nullptr; range = range->next_) {
    bool expected = false;
    if (range->used_.compare_exchange_strong(expected, true)) return *range;
  }
  auto* const range = new GuardedRange;  // stays in the table forever
  range->used_.store(true);
  range->next_ = first_range.load();
  while (!first_range.compare_exchange_weak(range->next_, range)) {
  }
  return *range;
}

}  // namespace

GuardedRange* guard_range(const void* begin, std::size_t bytes) {
  static std::once_flag installed;
  std::call_once(installed, install_handler);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  GuardedRange& range = unused_range();
  range.set(first, (first + bytes + page - 1) & ~(page - 1), page);
  return &range;
}

void unguard_range(GuardedRange* range) noexcept {
  if (range == nullptr) return;
  range->set(0, 0, 1);
  range->used_.store(false);
}

bool is_damaged(const GuardedRange& range) noexcept {
  return range.damaged_.load();
}

void mark_damaged(GuardedRange& range) noexcept {
  range.damaged_.store(true);
}

}  // namespace mslt
