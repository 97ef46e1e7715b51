// Packing weights into GGUF's blocks of a few bits per element.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/gguf.h"

namespace mslt {

// The block of a type that quantise makes: Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0, in lower or upper case. Nothing for any
// other name.
std::optional<GgufBlock> packed_block(std::string_view name);

// "q4_0, q4_1, ...", for messages.
std::string packed_block_names();

// Whole blocks of these elements, with the bits of the package gguf. `blocks` has as many as `values`. Returns whether
// all scales are finite: they are unless elements are beyond the range of f16. Throws Error(input) if packed_block has
// no such type. Safe to call from several threads.
bool quantise(std::span<const float> values, const GgufBlock& type, std::span<std::byte> blocks);

}  // namespace mslt
