// The lexer.
#include "mslc/lexer.h"

#include <array>
#include <cstddef>

namespace mslt::mslc {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}

// Longest first. `>>` is missing on purpose: two `>` close two template argument lists.
constexpr std::array<std::string_view, 24> long_punctuation = {"<<=", "...", "->*", "::", "->", "++", "--", "<<",
                                                               "<=",  ">=",  "==",  "!=", "&&", "||", "+=", "-=",
                                                               "*=",  "/=",  "%=",  "&=", "|=", "^=", "##", ".*"};
constexpr std::string_view short_punctuation = "{}[]()<>;:,.?~!+-*/%^&|=#";

class Lexer {
 public:
  Lexer(std::string_view text, std::string_view file, Diagnostics& diagnostics)
      : text_(text), file_(file), diagnostics_(diagnostics) {}

  std::vector<Token> run() {
    while (skip_blanks()) {
      const std::size_t begin = at_;
      const Location place = here();
      const TokenKind kind = scan();
      if (kind != TokenKind::end) {
        tokens_.push_back({kind, text_.substr(begin, at_ - begin), place, space_});
      }
      space_ = false;
      line_has_tokens_ = true;
    }
    return std::move(tokens_);
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  Location here() const { return {file_, line_, static_cast<std::uint32_t>(at_ - line_start_ + 1)}; }

  void advance() {
    if (text_[at_] == '\n') {
      ++line_;
      line_start_ = at_ + 1;
      line_has_tokens_ = false;
    }
    ++at_;
  }

  // Skips to the next token; false at the end of the text.
  bool skip_blanks() {
    while (at_ < text_.size()) {
      const char c = peek();
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        advance();
      } else if (c == '/' && peek(1) == '/') {
        while (at_ < text_.size() && peek() != '\n') {
          advance();
        }
      } else if (c == '/' && peek(1) == '*') {
        skip_block_comment();
      } else {
        return true;
      }
      space_ = true;
    }
    return false;
  }

  void skip_block_comment() {
    const Location start = here();
    at_ += 2;
    while (at_ < text_.size() && !text_.substr(at_).starts_with("*/")) {
      advance();
    }
    if (at_ >= text_.size()) {
      diagnostics_.error(start, "this comment does not end; close it with '*/'");
      return;
    }
    at_ += 2;
  }

  TokenKind scan() {
    const char c = peek();
    if (c == '#' && !line_has_tokens_) {
      return scan_directive();
    }
    if (is_name_start(c)) {
      while (is_name_part(peek())) {
        ++at_;
      }
      return TokenKind::identifier;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      return scan_number();
    }
    if (c == '"' || c == '\'') {
      return scan_quoted(c);
    }
    return scan_punctuation();
  }

  TokenKind scan_directive() {
    while (at_ < text_.size() && peek() != '\n') {
      if (peek() == '/' && (peek(1) == '/' || peek(1) == '*')) {
        break;
      }
      if (peek() == '\\' && peek(1) == '\n') {
        advance();
      }
      advance();
    }
    return TokenKind::directive;
  }

  TokenKind scan_number() {
    const bool hexadecimal = peek() == '0' && (peek(1) == 'x' || peek(1) == 'X');
    bool floating = false;
    while (is_name_part(peek()) || peek() == '.' || (peek() == '\'' && is_name_part(peek(1)))) {
      const char c = peek();
      const bool exponent = hexadecimal ? (c == 'p' || c == 'P') : (c == 'e' || c == 'E');
      floating = floating || c == '.' || exponent;
      ++at_;
      if (exponent && (peek() == '+' || peek() == '-')) {
        ++at_;
      }
    }
    return floating ? TokenKind::floating : TokenKind::integer;
  }

  TokenKind scan_quoted(char quote) {
    const Location start = here();
    ++at_;
    while (at_ < text_.size() && peek() != quote && peek() != '\n') {
      at_ += peek() == '\\' ? 2 : 1;
    }
    if (at_ >= text_.size() || peek() != quote) {
      at_ = at_ < text_.size() ? at_ : text_.size();
      diagnostics_.error(start, "this literal does not end on its line; close it with {}", quote);
      return TokenKind::end;
    }
    ++at_;
    return quote == '"' ? TokenKind::string : TokenKind::character;
  }

  TokenKind scan_punctuation() {
    for (const std::string_view candidate : long_punctuation) {
      if (text_.substr(at_).starts_with(candidate)) {
        at_ += candidate.size();
        return TokenKind::punctuation;
      }
    }
    const char c = peek();
    if (short_punctuation.find(c) == std::string_view::npos) {
      diagnostics_.error(here(), "character 0x{:02x} has no meaning here; sources are plain ASCII outside comments",
                         static_cast<unsigned>(static_cast<unsigned char>(c)));
      ++at_;
      return TokenKind::end;
    }
    ++at_;
    return TokenKind::punctuation;
  }

  std::string_view text_;
  std::string_view file_;
  Diagnostics& diagnostics_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  std::size_t line_start_ = 0;
  bool space_ = false;
  bool line_has_tokens_ = false;
};

}  // namespace

std::vector<Token> lex(std::string_view text, std::string_view file, Diagnostics& diagnostics) {
  return Lexer(text, file, diagnostics).run();
}

}  // namespace mslt::mslc
