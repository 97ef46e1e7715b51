// Dropout of a range of elements.
#pragma once

#include <cstdint>

#include "backend/cpu/dropout_state.h"

namespace mslt {

// out[i] = element first + i dropped ? 0 : in[i] / (1 - p), for i < n. out may be in.
void apply_dropout(const DropoutState& state, std::int64_t first, std::int64_t n, const float* in, float* out);

}  // namespace mslt
