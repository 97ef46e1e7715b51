// getrlimit and Linux's /proc and /sys, where they exist.
#include "base/process_limits.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>

#include "base/fail.h"
#include "base/system_error.h"

namespace mslt {
namespace {

// The soft limit; nothing if unlimited.
std::optional<std::uint64_t> limit_of(int resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<std::uint64_t>(limit.rlim_cur);
}

std::optional<std::uint64_t> first_number(const char* path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end == word.data()) return std::nullopt;
  return number;
}

// Bytes mapped by this process, from the first number of statm; 0 if the system does not say.
std::uint64_t mapped_bytes() {
  return first_number("/proc/self/statm").value_or(0) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

std::string binary_size(std::uint64_t bytes) {
  const auto size = static_cast<double>(bytes);
  if (size >= 0x1p30) return fmt::format("{:.1f} GiB", size / 0x1p30);
  if (size >= 0x1p20) return fmt::format("{:.1f} MiB", size / 0x1p20);
  return fmt::format("{} bytes", bytes);
}

std::uint64_t allow_descriptors(std::uint64_t count) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return count;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= count) return count;
  const bool allows_all = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= count;
  rlimit raised = limit;
  raised.rlim_cur = allows_all ? static_cast<rlim_t>(count) : limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) != 0) return limit.rlim_cur;
  return raised.rlim_cur;
}

std::uint64_t address_space_left() {
  const auto limit = limit_of(RLIMIT_AS);
  if (!limit) return std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t used = mapped_bytes();
  return *limit > used ? *limit - used : 0;
}

std::string explain_memory(std::uint64_t asked, std::uint64_t free) {
  const std::uint64_t left = address_space_left();
  if (left < asked || left < free) {
    return fmt::format("the limit on this process's address space, {} (ulimit -v), leaves {}; raise it",
                       binary_size(limit_of(RLIMIT_AS).value_or(0)), binary_size(left));
  }
  if (asked > free) return fmt::format("{} are free", binary_size(free));
  return fmt::format("the system refused it, though {} are free; it may be fragmented or promised to others",
                     binary_size(free));
}

std::string explain_out_of_memory() {
  const auto limit = limit_of(RLIMIT_AS);
  if (!limit) return "neither the machine nor the limits on this process leave more";
  return fmt::format("the limit on this process's address space, {} (ulimit -v), leaves {}", binary_size(*limit),
                     binary_size(address_space_left()));
}

void fail_thread(int error) {
  std::string limits;
  const auto add = [&](const std::string& limit) {
    limits += (limits.empty() ? "" : ", ") + limit;
  };
  if (const auto processes = limit_of(RLIMIT_NPROC)) {
    add(fmt::format("the limit on processes and threads is {} (ulimit -u)", *processes));
  }
  if (const auto space = limit_of(RLIMIT_AS)) {
    add(fmt::format("the limit on address space is {}, of which {} are left (ulimit -v)", binary_size(*space),
                    binary_size(address_space_left())));
  }
  if (const auto tasks = first_number("/sys/fs/cgroup/pids.max")) {
    add(fmt::format("the limit of the control group is {} tasks (pids.max)", *tasks));
  }
  if (limits.empty()) limits = explain_errno(error);
  fail(ErrorKind::io, "Cannot start a thread: {}. Raise the limit, or use fewer threads (OMP_NUM_THREADS).", limits);
}

}  // namespace mslt
