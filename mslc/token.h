// Tokens of MSL sources and their positions.
#pragma once

#include <cstdint>
#include <string_view>

namespace mslt::mslc {

// A position in a source file; lines and columns count from 1. `file` is the path as in diagnostics and lives as long
// as the Sources that read it.
struct Location {
  std::string_view file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

enum class TokenKind : std::uint8_t {
  identifier,  // including keywords
  integer,
  floating,
  character,
  string,
  punctuation,  // `>` is always its own token, so that template argument lists close
  directive,    // a whole preprocessor line, from # to its end
  end,          // after the last token
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;  // a view into the source
  Location at;
  bool space_before = false;  // preceded by white space or a comment

  bool is(std::string_view expected) const { return text == expected && kind != TokenKind::string; }
  bool is_name() const { return kind == TokenKind::identifier; }
};

}  // namespace mslt::mslc
