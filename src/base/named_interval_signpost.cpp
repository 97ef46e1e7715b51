// Intervals as signposts of macOS, which Instruments shows.
#include <os/signpost.h>

#include "base/named_interval.h"

namespace mslt {
namespace {

os_log_t intervals() {
  static const os_log_t log = os_log_create("mslt", OS_LOG_CATEGORY_POINTS_OF_INTEREST);
  return log;
}

}  // namespace

NamedInterval::NamedInterval(const char* name) {
  if (!os_signpost_enabled(intervals())) return;
  id_ = os_signpost_id_generate(intervals());
  os_signpost_interval_begin(intervals(), id_, "operation", "%{public}s", name);
}

NamedInterval::~NamedInterval() {
  if (id_ != 0) os_signpost_interval_end(intervals(), id_, "operation");
}

}  // namespace mslt
