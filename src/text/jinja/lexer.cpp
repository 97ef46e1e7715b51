// Cutting templates into tokens.
#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "text/jinja/python_text.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

// Line ends become line feeds; the last one goes.
std::string with_line_feeds(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool starts_name(char32_t character) {
  if (character < 0x80) return character == '_' || std::isalpha(static_cast<int>(character)) != 0;
  return (unicode::class_of(character) & (unicode::other_letter | unicode::upper_letter | unicode::lower_letter)) != 0;
}

bool continues_name(char32_t character) {
  if (starts_name(character)) return true;
  if (character < 0x80) return character >= '0' && character <= '9';
  return (unicode::class_of(character) & (unicode::mark | unicode::number)) != 0;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text();
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text) const { return std::string_view(source_).substr(at_).starts_with(text); }
  bool at_end() const { return at_ >= source_.size(); }

  void advance(std::size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
  }

  void skip_space() {
    while (!at_end()) {
      const Utf8Result character = decode_utf8(source_, at_);
      if (!is_space(character.code_point)) break;
      advance(character.length);
    }
  }

  void add(TokenKind kind, std::string spelling, Value number = {}) {
    tokens_.push_back({kind, std::move(spelling), std::move(number), line_});
  }

  // Data up to a tag with `sign` after its opening; begins_line: nothing but a line feed was before the data.
  void add_data(std::string_view text, char sign, bool is_print, bool begins_line) {
    if (sign == '-') {
      text = strip(text, Side::right);
    } else if (sign != '+' && !is_print) {
      const std::size_t line_feed = text.rfind('\n');
      const std::size_t start = line_feed == std::string_view::npos ? 0 : line_feed + 1;
      const bool is_line_start = start > 0 || begins_line;
      if (is_line_start && strip(text.substr(start), Side::both).empty()) text = text.substr(0, start);
    }
    if (!text.empty()) add(TokenKind::data, std::string(text));
  }

  char sign_after(std::size_t position) const {
    const char sign = position < source_.size() ? source_[position] : ' ';
    return sign == '-' || sign == '+' ? sign : ' ';
  }

  // Text up to the next tag, and that tag.
  void lex_text() {
    std::size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        add(TokenKind::data, source_.substr(at_));
        at_ = source_.size();
        return;
      }
      if (std::string_view("{%#").find(source_[tag + 1]) != std::string_view::npos) break;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_after(tag + 2);
    const bool begins_line = at_ == 0 || source_[at_ - 1] == '\n';
    add_data(std::string_view(source_).substr(at_, tag - at_), sign, kind == '{', begins_line);
    advance(tag - at_);
    const int line = line_;
    if (kind == '%' && lex_raw()) return;
    advance(sign == ' ' ? 2 : 3);
    if (kind == '#') {
      lex_comment(line);
    } else {
      add(kind == '%' ? TokenKind::begin_block : TokenKind::begin_print, "");
      lex_tag(kind == '%');
    }
  }

  void lex_comment(int line) {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) refuse_syntax(line, "a comment has no end");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    advance(end + 2 - at_);
    after_block(sign == '-' || sign == '+' ? sign : ' ');
  }

  // White space behind a block or a comment.
  void after_block(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && at("\n")) {
      advance(1);
    }
  }

  // The length of {% word %} at `position`, with the sign at its end; nothing if it is another tag.
  struct Bare {
    std::size_t length;
    char sign_before;
    char sign_after;
  };
  std::optional<Bare> bare_tag(std::size_t position, std::string_view word) const {
    const std::string_view rest = std::string_view(source_).substr(position);
    if (!rest.starts_with("{%")) return std::nullopt;
    std::size_t i = 2;
    const char before = i < rest.size() && (rest[i] == '-' || rest[i] == '+') ? rest[i++] : ' ';
    const auto skip = [&] {
      while (i < rest.size() && is_space(decode_utf8(rest, i).code_point)) i += decode_utf8(rest, i).length;
    };
    skip();
    if (!rest.substr(i).starts_with(word)) return std::nullopt;
    i += word.size();
    skip();
    const bool may_keep = word == "endraw";
    const char after = i < rest.size() && (rest[i] == '-' || (may_keep && rest[i] == '+')) ? rest[i++] : ' ';
    if (!rest.substr(i).starts_with("%}")) return std::nullopt;
    return Bare{i + 2, before, after};
  }

  // {% raw %} to {% endraw %}; false if there is another tag here.
  bool lex_raw() {
    const auto begin = bare_tag(at_, "raw");
    if (!begin) return false;
    const int line = line_;
    advance(begin->length);
    if (begin->sign_after == '-') skip_space();
    for (std::size_t tag = at_;; ++tag) {
      tag = source_.find("{%", tag);
      if (tag == std::string::npos) refuse_syntax(line, "raw has no endraw");
      const auto end = bare_tag(tag, "endraw");
      if (!end) continue;
      add_data(std::string_view(source_).substr(at_, tag - at_), end->sign_before, false, source_[at_ - 1] == '\n');
      advance(tag + end->length - at_);
      after_block(end->sign_after);
      return true;
    }
  }

  // The tokens of a tag to its end.
  void lex_tag(bool is_block) {
    const std::string_view close = is_block ? "%}" : "}}";
    std::vector<char> open;
    while (true) {
      if (at_end()) refuse_syntax(line_, "a tag has no end; expected '{}'", close);
      if (open.empty()) {
        const bool has_sign = at("-") || (is_block && at("+"));
        if (at(close) || (has_sign && std::string_view(source_).substr(at_ + 1).starts_with(close))) {
          const char sign = has_sign && !at(close) ? source_[at_] : ' ';
          add(is_block ? TokenKind::end_block : TokenKind::end_print, "");
          advance(sign == ' ' ? 2 : 3);
          if (is_block) {
            after_block(sign);
          } else if (sign == '-') {
            skip_space();
          }
          return;
        }
      }
      const Utf8Result character = decode_utf8(source_, at_);
      if (is_space(character.code_point)) {
        advance(character.length);
      } else if (is_digit(source_[at_])) {
        lex_number();
      } else if (starts_name(character.code_point)) {
        lex_name();
      } else if (source_[at_] == '\'' || source_[at_] == '"') {
        lex_string();
      } else {
        lex_symbol(open);
      }
    }
  }

  void lex_name() {
    const std::size_t start = at_;
    while (!at_end()) {
      const Utf8Result character = decode_utf8(source_, at_);
      if (!continues_name(character.code_point)) break;
      at_ += character.length;
    }
    add(TokenKind::name, source_.substr(start, at_ - start));
  }

  void lex_symbol(std::vector<char>& open) {
    constexpr std::array<std::string_view, 28> symbols = {"==", "!=", "<=", ">=", "//", "**", "=", "<", ">", "+",
                                                          "-",  "*",  "/",  "%",  "~",  "|",  ".", ",", ":", "(",
                                                          ")",  "[",  "]",  "{",  "}",  ";",  "&", "^"};
    const auto* found = std::ranges::find_if(symbols, [&](std::string_view symbol) { return at(symbol); });
    if (found == symbols.end() || *found == "&" || *found == "^") {
      refuse_syntax(line_, "unexpected character '{}'", source_.substr(at_, decode_utf8(source_, at_).length));
    }
    const std::string_view symbol = *found;
    if (symbol == "(" || symbol == "[" || symbol == "{") {
      open.push_back(symbol == "(" ? ')' : symbol == "[" ? ']' : '}');
    } else if (symbol == ")" || symbol == "]" || symbol == "}") {
      if (open.empty()) refuse_syntax(line_, "unexpected '{}'", symbol);
      if (open.back() != symbol.front()) refuse_syntax(line_, "unexpected '{}', expected '{}'", symbol, open.back());
      open.pop_back();
    }
    add(TokenKind::symbol, std::string(symbol));
    at_ += symbol.size();
  }

  // Digits with single underscores between them; returns the end.
  std::size_t digits_end(std::size_t position) const {
    while (position < source_.size() &&
           (is_digit(source_[position]) ||
            (source_[position] == '_' && position + 1 < source_.size() && is_digit(source_[position + 1])))) {
      ++position;
    }
    return position;
  }

  void lex_number() {
    const std::size_t start = at_;
    const auto character = [&](std::size_t position) {
      return position < source_.size() ? source_[position] : ' ';
    };
    const auto text = [&] {
      std::string digits = source_.substr(start, at_ - start);
      std::erase(digits, '_');
      return digits;
    };
    if (lex_prefixed()) return;
    std::size_t end = digits_end(start);
    bool is_real = false;
    // Behind a dot, digits are an index: x.0.1.
    const bool after_dot = start > 0 && source_[start - 1] == '.';
    if (!after_dot) {
      if (character(end) == '.' && is_digit(character(end + 1))) {
        is_real = true;
        end = digits_end(end + 1);
      }
      if ((character(end) | 0x20) == 'e') {
        const std::size_t sign = character(end + 1) == '+' || character(end + 1) == '-' ? 1 : 0;
        if (is_digit(character(end + 1 + sign))) {
          is_real = true;
          end = digits_end(end + 1 + sign);
        }
      }
    }
    if (!is_real && source_[start] == '0') {
      // Zeros alone: 012 is 0 and then 12, which no rule of the grammar takes.
      end = start + 1;
      while (character(end) == '0' || (character(end) == '_' && character(end + 1) == '0')) ++end;
    }
    at_ = end;
    if (is_real) {
      add(TokenKind::number, text(), Value(*parse_real(text())));
      return;
    }
    const auto number = parse_integer(text(), 10);
    add(TokenKind::number, text(), Value(number.value_or(0)));
  }

  // 0x1F, 0o17, 0b11; false if there is none here.
  bool lex_prefixed() {
    constexpr std::array<std::pair<char, int>, 3> bases = {{{'x', 16}, {'o', 8}, {'b', 2}}};
    if (source_[at_] != '0' || at_ + 1 >= source_.size()) return false;
    for (const auto& [letter, base] : bases) {
      if ((source_[at_ + 1] | 0x20) != letter) continue;
      const auto is_of_base = [&](std::size_t position) {
        if (position >= source_.size()) return false;
        const char c = static_cast<char>(source_[position] | 0x20);
        const int digit = is_digit(source_[position]) ? source_[position] - '0'
                          : c >= 'a' && c <= 'f'      ? c - 'a' + 10
                                                      : 99;
        return digit < base;
      };
      std::size_t end = at_ + 2;
      while (is_of_base(end) || (end < source_.size() && source_[end] == '_' && is_of_base(end + 1))) ++end;
      if (end == at_ + 2) return false;
      std::string digits = source_.substr(at_ + 2, end - at_ - 2);
      std::erase(digits, '_');
      add(TokenKind::number, digits, Value(parse_integer(digits, base).value_or(0)));
      at_ = end;
      return true;
    }
    return false;
  }

  void lex_string() {
    const char quote = source_[at_];
    const int line = line_;
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) refuse_syntax(line, "a text has no end; expected {}", quote);
    std::string text = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
    add(TokenKind::text, std::move(text));
    advance(end + 1 - at_);
  }

  std::string unescape(std::string_view text) const {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        result += text[i];
        continue;
      }
      ++i;
      constexpr std::string_view letters = "abfnrtv\\'\"";
      constexpr std::string_view meanings = "\a\b\f\n\r\t\v\\'\"";
      const std::size_t simple = letters.find(text[i]);
      if (simple != std::string_view::npos) {
        result += meanings[simple];
      } else if (text[i] == '\n') {
        continue;
      } else if (text[i] == 'x' || text[i] == 'u' || text[i] == 'U') {
        const std::size_t count = text[i] == 'x' ? 2 : text[i] == 'u' ? 4 : 8;
        append_numbered(text.substr(i + 1), count, 16, result);
        i += count;
      } else if (text[i] >= '0' && text[i] <= '7') {
        std::size_t count = 1;
        while (count < 3 && i + count < text.size() && text[i + count] >= '0' && text[i + count] <= '7') ++count;
        append_numbered(text.substr(i), count, 8, result);
        i += count - 1;
      } else if (text[i] == 'N') {
        refuse_syntax(line_, "characters by name (\\N) are not supported in texts");
      } else {
        result += '\\';
        result += text[i];
      }
    }
    return result;
  }

  void append_numbered(std::string_view text, std::size_t count, int base, std::string& result) const {
    const std::string digits(text.substr(0, count));
    const bool are_digits = digits.size() == count && std::ranges::all_of(digits, [](char c) {
                              return std::isxdigit(static_cast<unsigned char>(c)) != 0;
                            });
    const auto number = are_digits ? parse_integer(digits, base) : std::nullopt;
    const bool is_surrogate = number && *number >= 0xD800 && *number <= 0xDFFF;
    if (!number || *number > 0x10FFFF || is_surrogate) {
      refuse_syntax(line_,
                    "a text holds an escape that is no character; after \\x follow 2 hexadecimal digits, after "
                    "\\u 4 and after \\U 8");
    }
    append_utf8(result, static_cast<char32_t>(*number));
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(with_line_feeds(source)).run();
}

}  // namespace mslt::jinja
