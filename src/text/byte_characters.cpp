// The mapping is computed, not tabled: 188 bytes map to themselves, the rest count up from U+0100.
#include "text/byte_characters.h"

namespace mslt {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Mapping {
  std::array<std::uint16_t, 256> character{};
  std::array<std::int16_t, 256 + 68> byte{};  // by character; -1: none
  std::array<unsigned char, 256> order{};
};

constexpr Mapping make_mapping() {
  Mapping mapping;
  mapping.byte.fill(-1);
  unsigned others = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned character = stands_for_itself(byte) ? byte : 256 + others++;
    mapping.character[byte] = static_cast<std::uint16_t>(character);
    mapping.byte[character] = static_cast<std::int16_t>(byte);
  }
  std::size_t next = 0;
  for (const std::int16_t byte : mapping.byte) {
    if (byte >= 0) mapping.order[next++] = static_cast<unsigned char>(byte);
  }
  return mapping;
}

constexpr Mapping mapping = make_mapping();

}  // namespace

std::array<unsigned char, 256> bytes_in_character_order() {
  return mapping.order;
}

std::string to_byte_characters(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const unsigned character = mapping.character[static_cast<unsigned char>(byte)];
    if (character < 0x80) {
      text.push_back(static_cast<char>(character));
    } else {
      text.push_back(static_cast<char>(0xC0 | (character >> 6)));
      text.push_back(static_cast<char>(0x80 | (character & 0x3F)));
    }
  }
  return text;
}

std::optional<std::string> from_byte_characters(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned character = static_cast<unsigned char>(text[i]);
    if (character >= 0x80) {
      // All characters of the mapping are below U+0800: at most two bytes.
      if ((character & 0xE0) != 0xC0 || i + 1 == text.size()) return std::nullopt;
      const unsigned continuation = static_cast<unsigned char>(text[++i]);
      if ((continuation & 0xC0) != 0x80) return std::nullopt;
      character = ((character & 0x1F) << 6) | (continuation & 0x3F);
    }
    if (character >= mapping.byte.size() || mapping.byte[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(mapping.byte[character]));
  }
  return bytes;
}

}  // namespace mslt
