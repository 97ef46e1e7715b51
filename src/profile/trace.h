// A step as a trace that Perfetto and chrome://tracing open.
#pragma once

#include <string>
#include <string_view>

#include "backend/timeline.h"

namespace mslt {

// The Trace Event Format (JSON): a track of the host, one of the device's operations and, where it has kernels, one of
// these; flows from where the host hands an operation over to where it runs; counters of the memory in use. Times are
// microseconds since the step began.
std::string trace_of(const StepTimeline& step, std::string_view device);

}  // namespace mslt
