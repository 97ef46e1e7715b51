// Reading and writing UTF-8, one code point at a time.
//
// Ill-formed text is split as recommended by the Unicode standard (section 3.9, "maximal subparts") and as by Python's
// errors="replace": each longest run of bytes that starts a character and cannot go on is one replacement character.
// All functions are safe to call from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mslt {

enum class Utf8Status : std::uint8_t {
  valid,
  invalid,     // no following bytes can make it a character
  incomplete,  // the text ends inside a possible character
};

struct Utf8Result {
  char32_t code_point;  // U+FFFD unless valid
  // The length in bytes of the character, or if not valid, of the bytes that one U+FFFD replaces (at least 1).
  std::uint8_t length;
  Utf8Status status;
};

inline constexpr char32_t replacement_character = 0xFFFD;

// Decodes the character at `position`, which must be below text.size(). Overlong forms, surrogates and code points over
// U+10FFFF are invalid.
inline Utf8Result decode_utf8(std::string_view text, std::size_t position) {
  const auto byte_at = [&](std::size_t offset) {
    return static_cast<unsigned char>(text[position + offset]);
  };
  const unsigned lead = byte_at(0);
  if (lead < 0x80) {
    return {lead, 1, Utf8Status::valid};
  }
  if (lead < 0xC2 || lead > 0xF4) {
    return {replacement_character, 1, Utf8Status::invalid};
  }
  const std::uint8_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The first continuation byte is enough to detect overlong forms, surrogates and code points that are too large.
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0x7FU >> length);
  const std::size_t available = text.size() - position;
  for (std::uint8_t i = 1; i < length; ++i) {
    if (i == available) {
      return {replacement_character, i, Utf8Status::incomplete};
    }
    const unsigned byte = byte_at(i);
    if (byte < low || byte > high) {
      return {replacement_character, i, Utf8Status::invalid};
    }
    code_point = (code_point << 6) | (byte & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {code_point, length, Utf8Status::valid};
}

// Of four bytes of a text as a little-endian word: whether the first three have the form of a character of three bytes,
// which overlong forms and surrogates have, too.
inline bool starts_three_bytes(std::uint32_t word) {
  return (word & 0xC0C0F0) == 0x8080E0;
}

// The code point of such bytes.
inline std::uint32_t code_point_of_three_bytes(std::uint32_t word) {
  return ((word & 0xF) << 12) | ((word >> 2) & 0xFC0) | ((word >> 16) & 0x3F);
}

// Whether all of a text is valid.
inline bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    if (character.status != Utf8Status::valid) return false;
    at += character.length;
  }
  return true;
}

// Whether the byte can only be one after the first of a character.
inline bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// The start of the character that ends at `end`, which must be above 0 and at most text.size(); the previous byte if no
// valid UTF-8 ends there.
inline std::size_t start_of_character_before(std::string_view text, std::size_t end) {
  std::size_t start = end - 1;
  while (start > 0 && end - start < 4 && continues_character(text[start])) --start;
  const Utf8Result result = decode_utf8(text.substr(0, end), start);
  return result.status == Utf8Status::valid && start + result.length == end ? start : end - 1;
}

// That character, or U+FFFD if it is not valid UTF-8.
inline char32_t character_before(std::string_view text, std::size_t end) {
  return decode_utf8(text.substr(0, end), start_of_character_before(text, end)).code_point;
}

// Appends the one to four bytes of a code point, which must be at most U+10FFFF and no surrogate.
inline void append_utf8(std::string& text, char32_t code_point) {
  const auto continuation = [&](unsigned shift) {
    text.push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3F)));
  };
  if (code_point < 0x80) {
    text.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text.push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    continuation(0);
  } else if (code_point < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    continuation(6);
    continuation(0);
  } else {
    text.push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

// Appends `text` to `output` with one U+FFFD for each ill-formed part, up to a possible incomplete character at the
// end. Returns the number of bytes consumed; at most three remain.
inline std::size_t append_replacing_invalid(std::string_view text, std::string& output) {
  std::size_t position = 0;
  while (position < text.size()) {
    const Utf8Result character = decode_utf8(text, position);
    if (character.status == Utf8Status::incomplete) {
      break;
    }
    if (character.status == Utf8Status::valid) {
      output.append(text, position, character.length);
    } else {
      append_utf8(output, replacement_character);
    }
    position += character.length;
  }
  return position;
}

}  // namespace mslt
