// Escapes for untrusted text.
#include "base/printable.h"

#include <fmt/format.h>

#include <cstddef>
#include <iterator>

namespace mslt {
namespace {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 0;  // 0 if the text is not UTF-8
};

// The first character of the non-empty `text` (RFC 3629: no surrogates, no overlong forms).
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  char32_t code = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  const bool is_overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (is_overlong || is_surrogate || code > 0x10FFFF) return {};
  return {code, bytes};
}

bool turns_direction(char32_t code) {
  return code == 0x061C || code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

std::string escaped(std::string_view text, bool keep_lines) {
  std::string result;
  result.reserve(text.size());
  const auto out = std::back_inserter(result);
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::string_view piece = text.substr(0, character.bytes == 0 ? 1 : character.bytes);
    const bool is_control = character.code < 0x20 || (character.code >= 0x7F && character.code < 0xA0);
    if (character.bytes == 0 || is_control) {
      if (piece == "\n" && keep_lines) {
        result += '\n';
      } else if (piece == "\n") {
        result += "\\n";
      } else if (piece == "\t") {
        result += "\\t";
      } else {
        for (const char byte : piece) fmt::format_to(out, "\\x{:02x}", static_cast<unsigned char>(byte));
      }
    } else if (turns_direction(character.code)) {
      fmt::format_to(out, "\\u{{{:04x}}}", static_cast<std::uint32_t>(character.code));
    } else {
      result += piece;
    }
    text.remove_prefix(piece.size());
  }
  return result;
}

}  // namespace

std::string printable(std::string_view text) {
  return escaped(text, false);
}

std::string printable_lines(std::string_view text) {
  return escaped(text, true);
}

std::string utf8_text(std::string_view text) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t bytes = first_character(rest).bytes;
    if (bytes == 0) return printable(text);
    rest.remove_prefix(bytes);
  }
  return std::string(text);
}

}  // namespace mslt
