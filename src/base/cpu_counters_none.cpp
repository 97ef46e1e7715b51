// Systems without perf_event.
#include "base/cpu_counters.h"

namespace mslt {

struct CpuCounters::Events {};

CpuCounters::CpuCounters() : refusal_("This system has no perf_event; Instruments counts on macOS.") {}

CpuCounters::~CpuCounters() = default;

CpuCounts CpuCounters::read() const {
  return {};
}

}  // namespace mslt
