// The tokens of a template.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/jinja/value.h"

namespace mslt::jinja {

enum class TokenKind {
  data,         // text outside of tags
  begin_print,  // {{
  end_print,
  begin_block,  // {%
  end_block,
  name,
  text,
  number,
  symbol,  // an operator or a bracket
  end,     // of the template
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string spelling;  // of data, a name, a symbol; the value of a text
  Value number = {};
  int line = 1;
  bool is(TokenKind other, std::string_view text) const { return kind == other && spelling == text; }
};

// A failure of a template's syntax, with its line.
class SyntaxFailure : public Failure {
 public:
  SyntaxFailure(int line, const std::string& message) : Failure(message), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

template <class... Args>
[[noreturn]] void refuse_syntax(int line, fmt::format_string<Args...> format, Args&&... args) {
  throw SyntaxFailure(line, fmt::format(format, std::forward<Args>(args)...));
}

// Cuts a template, of valid UTF-8, into tokens; white space around tags goes as with Jinja's trim_blocks and
// lstrip_blocks, and a last line feed goes. The last token is `end`. Throws SyntaxFailure.
std::vector<Token> tokenize(std::string_view source);

}  // namespace mslt::jinja
