// Unpacking of GGUF's blocks: 32 elements with one scale, or 256 with scales of 16 or 32 elements each.
#include "formats/gguf_blocks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/fail.h"
#include "formats/gguf_block_bytes.h"
#include "tensor/half.h"

namespace mslt {
namespace {

using Block = GgufBytes;

float float_at(Block block, std::size_t offset) {
  return to_float(half_at(block, offset));
}

unsigned fifth_bit(Block bits, std::size_t i) {
  return (bits[i / 8] >> (i % 8) & 1u) << 4;
}

void q4_0(Block block, float* out) {
  const float scale = float_at(block, 0);
  for (std::size_t i = 0; i < 32; ++i) out[i] = scale * (static_cast<float>(nibble(block + 2, i)) - 8.0f);
}

void q4_1(Block block, float* out) {
  const float scale = float_at(block, 0);
  const float least = float_at(block, 2);
  for (std::size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(nibble(block + 4, i)) + least;
}

void q5_0(Block block, float* out) {
  const float scale = float_at(block, 0);
  for (std::size_t i = 0; i < 32; ++i) {
    out[i] = scale * (static_cast<float>(nibble(block + 6, i) | fifth_bit(block + 2, i)) - 16.0f);
  }
}

void q5_1(Block block, float* out) {
  const float scale = float_at(block, 0);
  const float least = float_at(block, 2);
  for (std::size_t i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(nibble(block + 8, i) | fifth_bit(block + 4, i)) + least;
  }
}

float signed_byte(std::uint8_t byte) {
  return static_cast<float>(static_cast<std::int8_t>(byte));
}

void q8_0(Block block, float* out) {
  const float scale = float_at(block, 0);
  for (std::size_t i = 0; i < 32; ++i) out[i] = signed_byte(block[2 + i]) * scale;
}

struct ScaleAndLeast {
  float scale;
  float least;
};

// The 6-bit scale and minimum of part `i` of 8, packed in 12 bytes after the two of the whole block.
ScaleAndLeast part_of(Block block, std::size_t i) {
  const Block packed = block + 4;
  unsigned scale = packed[i % 4];
  unsigned least = packed[4 + i % 4];
  if (i < 4) {
    scale &= 0x3Fu;
    least &= 0x3Fu;
  } else {
    const unsigned low = packed[4 + i];
    scale = (low & 0xFu) | (scale >> 2 & 0x30u);
    least = low >> 4 | (least >> 2 & 0x30u);
  }
  return {float_at(block, 0) * static_cast<float>(scale), float_at(block, 2) * static_cast<float>(least)};
}

// Two parts of 32 elements share 32 bytes: low halves, then high halves.
unsigned part_nibble(Block bytes, std::size_t part, std::size_t i) {
  const unsigned byte = bytes[part / 2 * 32 + i];
  return part % 2 == 0 ? byte & 0xFu : byte >> 4;
}

void q4_k(Block block, float* out) {
  for (std::size_t part = 0; part < 8; ++part) {
    const auto [scale, least] = part_of(block, part);
    for (std::size_t i = 0; i < 32; ++i) {
      out[part * 32 + i] = scale * static_cast<float>(part_nibble(block + 16, part, i)) - least;
    }
  }
}

void q5_k(Block block, float* out) {
  for (std::size_t part = 0; part < 8; ++part) {
    const auto [scale, least] = part_of(block, part);
    for (std::size_t i = 0; i < 32; ++i) {
      const unsigned high = (block[16 + i] >> part & 1u) << 4;
      out[part * 32 + i] = scale * static_cast<float>(part_nibble(block + 48, part, i) | high) - least;
    }
  }
}

void q6_k(Block block, float* out) {
  const float whole = float_at(block, 208);
  for (std::size_t part = 0; part < 8; ++part) {
    const std::size_t half = part / 4;
    const Block low = block + half * 64 + part % 2 * 32;
    const Block high = block + 128 + half * 32;
    for (std::size_t i = 0; i < 32; ++i) {
      const unsigned bits = part % 4 < 2 ? low[i] & 0xFu : low[i] >> 4;
      const unsigned upper = (high[i] >> (2 * (part % 4)) & 3u) << 4;
      const float scale = whole * signed_byte(block[192 + part * 2 + i / 16]);
      out[part * 32 + i] = scale * (static_cast<float>(bits | upper) - 32.0f);
    }
  }
}

struct Unpacking {
  std::string_view name;
  void (*unpack)(Block, float*);
  std::size_t halves_at;  // the numbers in f16
  std::size_t halves;
};
constexpr std::array<Unpacking, 8> unpackings = {{{"Q4_0", q4_0, 0, 1},
                                                  {"Q4_1", q4_1, 0, 2},
                                                  {"Q5_0", q5_0, 0, 1},
                                                  {"Q5_1", q5_1, 0, 2},
                                                  {"Q8_0", q8_0, 0, 1},
                                                  {"Q4_K", q4_k, 0, 2},
                                                  {"Q5_K", q5_k, 0, 2},
                                                  {"Q6_K", q6_k, 208, 1}}};

const Unpacking& unpacking_of(const GgufBlock& type) {
  const auto* const known = std::ranges::find(unpackings, type.name, &Unpacking::name);
  if (known == unpackings.end()) {
    fail(ErrorKind::input, "Weights of type {} cannot be read; supported are {}.", type.name, quantised_block_names());
  }
  return *known;
}

}  // namespace

std::optional<GgufBlock> quantised_block(std::string_view dtype) {
  if (std::ranges::find(unpackings, dtype, &Unpacking::name) == unpackings.end()) return std::nullopt;
  return gguf_block(dtype);
}

std::string quantised_block_names() {
  std::vector<std::string_view> names;
  for (const Unpacking& known : unpackings) names.push_back(known.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

void dequantise(std::span<const std::byte> blocks, const GgufBlock& type, std::span<float> out) {
  const Unpacking& known = unpacking_of(type);
  const auto* const bytes = reinterpret_cast<Block>(blocks.data());
  for (std::size_t i = 0; i < out.size() / type.elements; ++i) {
    known.unpack(bytes + i * type.bytes, out.data() + i * type.elements);
  }
}

bool finite_blocks(std::span<const std::byte> blocks, const GgufBlock& type) {
  const Unpacking& known = unpacking_of(type);
  constexpr unsigned exponent = 0x7C00u;
  for (std::size_t at = 0; at + type.bytes <= blocks.size(); at += type.bytes) {
    for (std::size_t i = 0; i < known.halves; ++i) {
      Float16 value;
      std::memcpy(&value.bits, blocks.data() + at + known.halves_at + i * sizeof value.bits, sizeof value.bits);
      if ((value.bits & exponent) == exponent) return false;
    }
  }
  return true;
}

}  // namespace mslt
