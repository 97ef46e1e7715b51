// How many cores the GPU has, which Metal does not tell.
#pragma once

namespace mslt::msl::metal {

// 0 where it cannot be learnt.
int gpu_core_count();

}  // namespace mslt::msl::metal
