// Quantising weights to 8 and 4 bits, in the layouts of backend.h's Weight, by the rules of GGUF's Q8_0 and Q4_0.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/half.h"

namespace mslt {

// Neighbours that share one scale. Rows of a weight must be whole groups.
inline constexpr std::int64_t quantisation_group = 32;

// All four functions work on any number of whole groups, group g being elements [32g, 32g + 32), and are safe to call
// from several threads on memory apart. Each throws Error(input) where a span's size does not fit the others', and
// quantising also where an element is not finite or so large that its group's scale overflows f16.

// scale = largest magnitude / 127, value = element / scale rounded half away from zero; the scale is rounded to f16
// only when it is stored. values as many as elements, scales one a group.
void quantise_8_bit(std::span<const float> elements, std::span<std::int8_t> values, std::span<Float16> scales);

// scale = the element of largest magnitude (the first of equals) / -8, so that it becomes exactly -8;
// half = element / scale + 8, rounded half up and at most 15. A group's 16 bytes hold element j in the low and element
// j + 16 in the high half of byte j.
void quantise_4_bit(std::span<const float> elements, std::span<std::uint8_t> values, std::span<Float16> scales);

// element = value · scale.
void dequantise_8_bit(std::span<const std::int8_t> values, std::span<const Float16> scales, std::span<float> elements);
// element = (half - 8) · scale.
void dequantise_4_bit(std::span<const std::uint8_t> values, std::span<const Float16> scales, std::span<float> elements);

}  // namespace mslt
