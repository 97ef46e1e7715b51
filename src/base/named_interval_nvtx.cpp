// Intervals as ranges of NVTX, which Nsight shows.
#include <nvtx3/nvToolsExt.h>

#include "base/named_interval.h"

namespace mslt {

NamedInterval::NamedInterval(const char* name) {
  nvtxRangePushA(name);
}

NamedInterval::~NamedInterval() {
  nvtxRangePop();
}

}  // namespace mslt
