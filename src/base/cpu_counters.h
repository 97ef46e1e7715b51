// The processor's own counters, through perf_event on Linux.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace mslt {

// Of all threads of the process, without the kernel's share; all 0 where nothing was counted.
struct CpuCounts {
  std::uint64_t cycles = 0;
  std::uint64_t instructions = 0;
  std::uint64_t cache_misses = 0;

  CpuCounts& operator+=(const CpuCounts& other);
  CpuCounts operator-(const CpuCounts& earlier) const;
};

// Counts from its construction on, for the threads that exist then. Safe to read from one thread at a time. Throws
// nothing: where the system allows no counting, refusal() says why and what would allow it, and read() gives zeros.
class CpuCounters {
 public:
  CpuCounters();
  CpuCounters(const CpuCounters&) = delete;
  CpuCounters& operator=(const CpuCounters&) = delete;
  ~CpuCounters();

  bool counts() const { return refusal_.empty(); }
  const std::string& refusal() const { return refusal_; }
  CpuCounts read() const;

 private:
  struct Events;
  std::unique_ptr<Events> events_;
  std::string refusal_;
};

}  // namespace mslt
