// Quantising weights to 8 and 4 bits, in the layouts of Weight (backend/operations/linear.h), with the meaning of
// GGUF's Q8_0 and Q4_1.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/half.h"

namespace mslt {

// Neighbours that share a scale. Rows of a weight must be whole groups.
inline constexpr std::int64_t quantisation_group = 32;

// All four functions work on any number of whole groups; group g has elements [32g, 32g + 32). They are safe to call
// from several threads on separate memory. Each throws Error(input) if the sizes of the spans do not match; quantising
// also throws if an element is not finite or so large that its group's scale or minimum overflows f16.

// scale = largest magnitude / 127, value = element / scale rounded half away from zero; the scale is rounded to f16
// only when stored. As many values as elements, one scale per group.
void quantise_8_bit(std::span<const float> elements, std::span<std::int8_t> values, std::span<Float16> scales);

// element ≈ half · scale + minimum, for halves of 0 to 15. Scale and minimum, which follow each other for each group,
// are the best of some by the sum of squared errors, and reproduce every group that Q4_0 holds, or Q4_1 whose ends
// occur. In a group's 16 bytes, byte j holds element j in its low half and element j + 16 in its high half.
void quantise_4_bit(std::span<const float> elements, std::span<std::uint8_t> values, std::span<Float16> factors);

// element = value · scale.
void dequantise_8_bit(std::span<const std::int8_t> values, std::span<const Float16> scales, std::span<float> elements);
// element = half · scale + minimum.
void dequantise_4_bit(std::span<const std::uint8_t> values, std::span<const Float16> factors,
                      std::span<float> elements);

}  // namespace mslt
