// The number of the GPU's cores, which Metal does not report.
#pragma once

namespace mslt::msl::metal {

// 0 if unknown.
int gpu_core_count();

}  // namespace mslt::msl::metal
