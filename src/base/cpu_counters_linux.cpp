// One group of three events for each thread of the process.
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/cpu_counters.h"
#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::array<std::uint64_t, 3> configurations = {PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS,
                                                         PERF_COUNT_HW_CACHE_MISSES};

int open_event(std::uint64_t configuration, int thread, int group) {
  perf_event_attr attributes = {};
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.size = sizeof(attributes);
  attributes.config = configuration;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  attributes.read_format = PERF_FORMAT_GROUP;
  return static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, thread, -1, group, static_cast<unsigned long>(PERF_FLAG_FD_CLOEXEC)));
}

std::string refusal_of(int error) {
  const std::string reason = std::generic_category().message(error);
  if (error == EACCES || error == EPERM) {
    return fmt::format(
        "The system does not allow perf_event_open ({}); kernel.perf_event_paranoid at 2 or less, and in a container "
        "the capability CAP_PERFMON, would allow it.",
        reason);
  }
  if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV) {
    return fmt::format("This processor, or the virtual machine, has no counters of cycles and caches ({}).", reason);
  }
  return fmt::format("perf_event_open fails: {}.", reason);
}

}  // namespace

struct CpuCounters::Events {
  std::vector<int> leaders;
  std::vector<int> all;
  Events() = default;
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  ~Events() {
    for (const int descriptor : all) ::close(descriptor);
  }
};

CpuCounters::CpuCounters() : events_(std::make_unique<Events>()) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
    const int thread = std::atoi(entry.path().filename().c_str());
    int leader = -1;
    for (const std::uint64_t configuration : configurations) {
      const int descriptor = open_event(configuration, thread, leader);
      if (descriptor < 0) {
        if (errno == ESRCH) break;  // the thread has ended
        refusal_ = refusal_of(errno);
        events_ = std::make_unique<Events>();
        return;
      }
      events_->all.push_back(descriptor);
      if (leader < 0) {
        leader = descriptor;
        events_->leaders.push_back(leader);
      }
    }
  }
  if (events_->leaders.empty()) refusal_ = "The threads of this process cannot be listed in /proc/self/task.";
}

CpuCounters::~CpuCounters() = default;

CpuCounts CpuCounters::read() const {
  CpuCounts counts;
  for (const int leader : events_->leaders) {
    // The number of values, then the values.
    std::array<std::uint64_t, 1 + configurations.size()> values{};
    const ssize_t count = ::read(leader, values.data(), sizeof(values));
    if (count != static_cast<ssize_t>(sizeof(values))) continue;
    counts += {.cycles = values[1], .instructions = values[2], .cache_misses = values[3]};
  }
  return counts;
}

}  // namespace mslt
