// Quantising weights to 8 and 4 bits, in the layouts of Weight (backend/operations/linear.h), by the rules of GGUF's
// Q8_0 and Q4_0.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/half.h"

namespace mslt {

// Neighbours that share a scale. Rows of a weight must be whole groups.
inline constexpr std::int64_t quantisation_group = 32;

// All four functions work on any number of whole groups; group g has elements [32g, 32g + 32). They are safe to call
// from several threads on separate memory. Each throws Error(input) if the sizes of the spans do not match; quantising
// also throws if an element is not finite or so large that its group's scale overflows f16.

// scale = largest magnitude / 127, value = element / scale rounded half away from zero; the scale is rounded to f16
// only when stored. As many values as elements, one scale per group.
void quantise_8_bit(std::span<const float> elements, std::span<std::int8_t> values, std::span<Float16> scales);

// scale = the element of largest magnitude (the first of equals) / -8, so it becomes exactly -8; half = element / scale
// + 8, rounded half up, at most 15. In a group's 16 bytes, byte j holds element j in its low half and element j + 16 in
// its high half.
void quantise_4_bit(std::span<const float> elements, std::span<std::uint8_t> values, std::span<Float16> scales);

// element = value · scale.
void dequantise_8_bit(std::span<const std::int8_t> values, std::span<const Float16> scales, std::span<float> elements);
// element = (half - 8) · scale.
void dequantise_4_bit(std::span<const std::uint8_t> values, std::span<const Float16> scales, std::span<float> elements);

}  // namespace mslt
