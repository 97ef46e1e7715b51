// The speed of light for products: what a large one reaches on a backend.
#pragma once

#include <functional>

#include "backend/backend.h"
#include "base/clock.h"

namespace mslt {

// The rate in FLOP/s of square products in `dtype` (f32, bf16, f16), the best of several timings over about `seconds`.
// The size doubles until one product is long enough to time. Allocates three matrices meanwhile, 64 MiB each at most in
// f32. `now` tells the time in seconds.
double measure_matmul_peak(Backend& backend, DType dtype = DType::f32, double seconds = 0.3,
                           const std::function<double()>& now = steady_seconds);

}  // namespace mslt
