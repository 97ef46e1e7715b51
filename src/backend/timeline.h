// What happened during one step, with times in seconds since it began.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/cpu_counters.h"

namespace mslt {

// Bytes [begin, end) of a buffer, which an operation accesses.
struct MemoryUse {
  const void* buffer = nullptr;  // tells buffers apart, and is never followed
  std::size_t begin = 0;
  std::size_t end = 0;
  Access access = Access::read;
};

struct OperationTime {
  std::string_view operation;  // its name, from the operation's type; "fused_operations" for several in one launch
  std::string shape;           // of its first tensor
  std::string layer;           // "layer 3", "embedding", "output", "all layers", or empty
  Work work;                   // at least
  double handed_over = 0.0;    // when the host began to hand it over, or the recording that holds it
  double handed_end = 0.0;     // when it was handed over; in a recording, the same as handed_over
  double begin = 0.0;          // when it began to run
  double end = 0.0;            // when it ended
  double seconds = 0.0;        // that its commands ran; less than end - begin where the device idled between them
  std::vector<KernelTime> kernels;
  std::vector<MemoryUse> uses;
  CpuCounts counts;  // of the hardware's counters, where they are allowed
};

// Work of the host that moves data or waits.
struct HostTime {
  std::string_view what;  // "upload", "download", "read back", "wait", "replay"
  double begin = 0.0;
  double end = 0.0;
  std::size_t bytes = 0;
};

// A buffer that operations of the step access.
struct HeldBuffer {
  std::string label;
  std::size_t bytes = 0;
};

struct StepTimeline {
  std::vector<OperationTime> operations;  // in order, none beside another
  std::vector<HostTime> host;
  std::map<const void*, HeldBuffer> buffers;
  double seconds = 0.0;  // of all of it, by the host's clock

  // All operations of one name together.
  struct Total {
    std::int64_t calls = 0;
    double seconds = 0.0;
    Work work;
  };
  std::map<std::string_view, Total> totals() const {
    std::map<std::string_view, Total> all;
    for (const OperationTime& one : operations) {
      Total& total = all[one.operation];
      ++total.calls;
      total.seconds += one.seconds;
      total.work.flops += one.work.flops;
      total.work.bytes += one.work.bytes;
    }
    return all;
  }
  // Of all operations.
  double operation_seconds() const {
    double sum = 0.0;
    for (const OperationTime& one : operations) sum += one.seconds;
    return sum;
  }
};

}  // namespace mslt
