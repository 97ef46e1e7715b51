// What the current GPU has.
#pragma once

namespace mslt::msl::cuda {

// Its multiprocessors, or 0 where there is no GPU.
int multiprocessors();
// Whether it has clusters and barriers in shared memory: compute capability 9.0.
bool is_hopper_or_later();

}  // namespace mslt::msl::cuda
