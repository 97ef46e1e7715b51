// Reading parts of GGUF's blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/half.h"

namespace mslt {

using GgufBytes = const std::uint8_t*;

inline Float16 half_at(GgufBytes block, std::size_t offset) {
  Float16 value;
  std::memcpy(&value.bits, block + offset, sizeof value.bits);
  return value;
}

// Element i of 32 of 4 bits: the low halves of 16 bytes are the first 16, the high halves the others.
inline unsigned nibble(GgufBytes bytes, std::size_t i) {
  return i < 16 ? bytes[i] & 0xFu : bytes[i - 16] >> 4;
}

}  // namespace mslt
