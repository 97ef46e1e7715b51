// Sizes of the helpers in target/ that the host side must know as well.
#pragma once

#include <cstdint>

namespace mslt::msl::cuda {

// Rows and columns of a threadgroup's results in the staged products.
inline constexpr std::uint32_t product_side = 128;

// Rows of a head that a threadgroup of the attention kernels has, for 16-bit types and heads of up to
// attention_tile_head.
inline constexpr std::uint32_t attention_tile = 64;
inline constexpr std::uint32_t attention_tile_head = 128;

}  // namespace mslt::msl::cuda
