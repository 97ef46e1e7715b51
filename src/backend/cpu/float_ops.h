// Simple arithmetic on arrays of floats, vectorised.
#pragma once

#include <cstdint>

namespace mslt {

// Arrays have n elements and may be unaligned; an output may be the very array of an input.

// out = a + b.
void add_floats(float* out, const float* a, const float* b, std::int64_t n);
// out = factor · in.
void scale_floats(float* out, const float* in, float factor, std::int64_t n);
// out = a + factor · b; the product is rounded or not, depending on the processor.
void add_scaled_floats(float* out, const float* a, float factor, const float* b, std::int64_t n);

}  // namespace mslt
