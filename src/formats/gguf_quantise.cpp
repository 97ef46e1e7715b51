// Blocks of 32 elements with one scale: the largest element decides it, or the smallest and the largest do.
#include "formats/gguf_quantise.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/fail.h"
#include "tensor/half.h"

namespace mslt {
namespace {

constexpr std::size_t count = 32;
using Values = std::span<const float, count>;
using Numbers = std::array<std::uint8_t, count>;

// Returns whether it is finite.
bool put_half(float value, std::byte* out) {
  const Float16 half = to_float16(value);
  std::memcpy(out, &half.bits, sizeof half.bits);
  return (half.bits & 0x7C00u) != 0x7C00u;
}

float inverse(float scale) {
  return scale == 0.0f ? 0.0f : 1.0f / scale;
}

// The whole part of a number, within [0, most]; 0 for NaN, which 0 times infinity is where a scale is subnormal.
std::uint8_t truncated(float value, float most) {
  if (!(value > 0.0f)) return 0;
  return static_cast<std::uint8_t>(std::min(value, most));
}

// The first element of the largest magnitude.
float largest(Values values) {
  float found = values[0];
  for (const float value : values) {
    if (std::abs(value) > std::abs(found)) found = value;
  }
  return found;
}

// The low four bits of the first 16 numbers beside those of the others.
void put_nibbles(const Numbers& numbers, std::byte* out) {
  for (std::size_t i = 0; i < count / 2; ++i) {
    out[i] = static_cast<std::byte>((numbers[i] & 0xFu) | (numbers[i + count / 2] & 0xFu) << 4);
  }
}

void put_fifth_bits(const Numbers& numbers, std::byte* out) {
  for (std::size_t byte = 0; byte < count / 8; ++byte) {
    unsigned bits = 0;
    for (std::size_t i = 0; i < 8; ++i) bits |= static_cast<unsigned>(numbers[byte * 8 + i] >> 4) << i;
    out[byte] = static_cast<std::byte>(bits);
  }
}

// Numbers of `bits` bits around the middle: the largest element is the least of them.
template <int bits>
bool around_middle(Values values, std::byte* out) {
  constexpr float middle = 1 << (bits - 1);
  const float scale = largest(values) / -middle;
  const float to_numbers = inverse(scale);
  Numbers numbers{};
  for (std::size_t i = 0; i < count; ++i) {
    numbers[i] = truncated(values[i] * to_numbers + (middle + 0.5f), 2 * middle - 1);
  }
  if (bits == 5) put_fifth_bits(numbers, out + 2);
  put_nibbles(numbers, out + (bits == 5 ? 6 : 2));
  return put_half(scale, out);
}

// Numbers of `bits` bits from the smallest element on.
template <int bits>
bool from_least(Values values, std::byte* out) {
  constexpr float most = (1 << bits) - 1;
  const auto [least, greatest] = std::ranges::minmax(values);
  const float scale = (greatest - least) / most;
  const float to_numbers = inverse(scale);
  Numbers numbers{};
  for (std::size_t i = 0; i < count; ++i) numbers[i] = truncated((values[i] - least) * to_numbers + 0.5f, most);
  if (bits == 5) put_fifth_bits(numbers, out + 4);
  put_nibbles(numbers, out + (bits == 5 ? 8 : 4));
  const bool is_finite = put_half(scale, out);
  return put_half(least, out + 2) && is_finite;
}

bool q8_0(Values values, std::byte* out) {
  const float scale = std::abs(largest(values)) / 127.0f;
  const float to_numbers = inverse(scale);
  for (std::size_t i = 0; i < count; ++i) {
    // Away from zero where it is half a number.
    const float scaled = values[i] * to_numbers;
    const float number = std::isfinite(scaled) ? std::clamp(std::round(scaled), -127.0f, 127.0f) : 0.0f;
    out[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(number));
  }
  return put_half(scale, out);
}

struct Packing {
  std::string_view name;
  bool (*pack)(Values, std::byte*);
};
constexpr std::array<Packing, 5> packings = {{{"Q4_0", around_middle<4>},
                                              {"Q4_1", from_least<4>},
                                              {"Q5_0", around_middle<5>},
                                              {"Q5_1", from_least<5>},
                                              {"Q8_0", q8_0}}};

}  // namespace

std::optional<GgufBlock> packed_block(std::string_view name) {
  std::string upper(name);
  for (char& letter : upper) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  if (std::ranges::find(packings, upper, &Packing::name) == packings.end()) return std::nullopt;
  return gguf_block(upper);
}

std::string packed_block_names() {
  std::vector<std::string> names;
  for (const Packing& known : packings) {
    names.emplace_back(known.name);
    names.back().front() = 'q';
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

bool quantise(std::span<const float> values, const GgufBlock& type, std::span<std::byte> blocks) {
  const auto* const known = std::ranges::find(packings, type.name, &Packing::name);
  if (known == packings.end()) {
    fail(ErrorKind::input, "Weights cannot be written as {}; supported are {}.", type.name, packed_block_names());
  }
  bool are_finite = true;
  for (std::size_t i = 0; i < values.size() / count; ++i) {
    const bool is_finite =
        known->pack(Values(values.subspan(i * count).first<count>()), blocks.data() + i * type.bytes);
    are_finite = are_finite && is_finite;
  }
  return are_finite;
}

}  // namespace mslt
