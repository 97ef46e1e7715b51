// The characters for bytes in tokenizer.json: GPT-2's mapping of each byte to one printable character.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mslt {

// The 256 bytes in the order of their characters: bytes that are printable in Latin-1 map to themselves, the other 68
// to U+0100 and up.
std::array<unsigned char, 256> bytes_in_character_order();

// Each byte as its character, in UTF-8.
std::string to_byte_characters(std::string_view bytes);

// The inverse; nothing if a character stands for no byte or `text` is not UTF-8.
std::optional<std::string> from_byte_characters(std::string_view text);

// Whether each byte maps to itself: printable ASCII.
inline bool is_its_own_spelling(std::string_view bytes) {
  for (const char byte : bytes) {
    if (byte < 0x21 || byte > 0x7E) return false;
  }
  return true;
}

}  // namespace mslt
