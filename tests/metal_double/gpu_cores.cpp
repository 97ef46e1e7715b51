// The double's GPU has as many cores as an M3 Max; Linux has no registry to ask.
#include "backend/msl/drivers/metal/gpu_cores.h"

namespace mslt::msl::metal {

int gpu_core_count() {
  return 40;
}

}  // namespace mslt::msl::metal
