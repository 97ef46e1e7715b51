// Weights that GGUF files store as blocks of a few bits per element.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/gguf.h"

namespace mslt {

// The block of a quantised type that dequantise takes: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K. Nothing for
// any other name.
std::optional<GgufBlock> quantised_block(std::string_view dtype);

// "Q4_0, Q4_1, ...", for messages.
std::string quantised_block_names();

// The elements of whole blocks, with the roundings of the package gguf, bit for bit. `out` has as many elements as the
// blocks. Throws Error(input) if quantised_block has no such type. Safe to call from several threads.
void dequantise(std::span<const std::byte> blocks, const GgufBlock& type, std::span<float> out);

// Whether all elements of whole blocks are finite: they are if their scales are.
bool finite_blocks(std::span<const std::byte> blocks, const GgufBlock& type);

}  // namespace mslt
