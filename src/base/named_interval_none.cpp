// Intervals where no profiler of the platform takes them.
#include "base/named_interval.h"

namespace mslt {

NamedInterval::NamedInterval(const char* /*name*/) {}

NamedInterval::~NamedInterval() = default;

}  // namespace mslt
