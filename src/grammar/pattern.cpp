// Recursive descent over a pattern in ECMA-262's syntax.
#include "grammar/pattern.h"

#include <optional>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/printable.h"
#include "text/utf8.h"

namespace mslt {
namespace {

using Node = ExpressionNode;

CharacterSet digits() {
  return CharacterSet::of('0', '9');
}

CharacterSet word_characters() {
  return CharacterSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
}

CharacterSet white_space() {
  return CharacterSet({{0x09, 0x0D},
                       {0x20, 0x20},
                       {0xA0, 0xA0},
                       {0x1680, 0x1680},
                       {0x2000, 0x200A},
                       {0x2028, 0x2029},
                       {0x202F, 0x202F},
                       {0x205F, 0x205F},
                       {0x3000, 0x3000},
                       {0xFEFF, 0xFEFF}});
}

CharacterSet line_ends() {
  return CharacterSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});
}

class PatternParser {
 public:
  PatternParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Node whole() {
    Node node = choice();
    if (at_ != text_.size()) reject("a ')' without a '('");
    return node;
  }

 private:
  static constexpr int max_depth = 64;
  static constexpr std::uint32_t max_count = 1000;

  [[noreturn]] void reject(std::string_view what) const {
    fail(ErrorKind::input, "{} is not supported: it has {} before byte {} of {}.", where_, what, at_, printable(text_));
  }

  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }

  char32_t take_character() {
    if (at_end()) reject("an end where a character is needed");
    const Utf8Result result = decode_utf8(text_, at_);
    if (result.status != Utf8Status::valid) reject("a byte that is not valid UTF-8");
    at_ += result.length;
    return result.code_point;
  }

  static Node set_node(CharacterSet set) {
    Node node;
    node.kind = Node::Kind::set;
    node.set = std::move(set);
    return node;
  }

  static Node assertion(Assertion what) {
    Node node;
    node.kind = Node::Kind::assertion;
    node.assertion = what;
    return node;
  }

  Node choice() {
    Node node;
    node.kind = Node::Kind::choice;
    do node.children.push_back(sequence());
    while (take("|"));
    return node.children.size() == 1 ? std::move(node.children.front()) : std::move(node);
  }

  Node sequence() {
    Node node;
    node.kind = Node::Kind::sequence;
    while (!at_end() && peek() != '|' && peek() != ')') node.children.push_back(quantified());
    return node;
  }

  Node quantified() {
    Node node = atom();
    std::uint32_t least = 0;
    std::uint32_t most = no_most;
    if (take("*")) {
    } else if (take("+")) {
      least = 1;
    } else if (take("?")) {
      most = 1;
    } else if (take("{")) {
      least = count();
      most = !take(",") ? least : peek() == '}' ? no_most : count();
      if (!take("}") || least > most) reject("a malformed {n,m}");
    } else {
      return node;
    }
    if (node.kind == Node::Kind::assertion) reject("a repeated ^ or $");
    take("?");  // lazy: the same texts
    if (!at_end() && std::string_view("*+?{").find(peek()) != std::string_view::npos) {
      reject("two quantifiers in a row");
    }
    Node repeat;
    repeat.kind = Node::Kind::repeat;
    repeat.least = least;
    repeat.most = most;
    repeat.children.push_back(std::move(node));
    return repeat;
  }

  std::uint32_t count() {
    std::uint32_t value = 0;
    const std::size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      if (value > max_count) reject("a repeat of more than 1000");
    }
    if (at_ == begin) reject("a '{' without a number");
    return value;
  }

  Node atom() {
    switch (peek()) {
      case '(':
        return group();
      case '[':
        ++at_;
        return set_node(set());
      case '.':
        ++at_;
        return set_node(line_ends().complement());
      case '^':
        ++at_;
        return assertion(Assertion::begin_text);
      case '$':
        ++at_;
        return assertion(Assertion::end_text);
      case '\\': {
        ++at_;
        if (auto named = named_set()) return set_node(std::move(*named));
        const char32_t code = escaped();
        return set_node(CharacterSet::of(code, code));
      }
      case '*':
      case '+':
      case '?':
      case '{':
        reject("a quantifier without anything to repeat");
      default:
        break;
    }
    const char32_t code = take_character();
    return set_node(CharacterSet::of(code, code));
  }

  Node group() {
    if (++depth_ > max_depth) reject("more than 64 nested groups");
    ++at_;
    if (take("?")) {
      if (take("<") && peek() != '=' && peek() != '!') {
        while (!at_end() && peek() != '>') ++at_;
        if (!take(">")) reject("a group's name without an end");
      } else if (!take(":")) {
        reject("a look-around or another kind of group");
      }
    }
    Node node = choice();
    if (!take(")")) reject("a '(' without a ')'");
    --depth_;
    return node;
  }

  // After a backslash: \d and the like.
  std::optional<CharacterSet> named_set() {
    switch (peek()) {
      case 'd':
        ++at_;
        return digits();
      case 'D':
        ++at_;
        return digits().complement();
      case 'w':
        ++at_;
        return word_characters();
      case 'W':
        ++at_;
        return word_characters().complement();
      case 's':
        ++at_;
        return white_space();
      case 'S':
        ++at_;
        return white_space().complement();
      default:
        return std::nullopt;
    }
  }

  // After a backslash.
  char32_t escaped() {
    const char32_t code = take_character();
    switch (code) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case '0':
        if (peek() >= '0' && peek() <= '9') reject("an octal escape");
        return 0;
      case 'x':
        return hex(2);
      case 'u':
        return unicode();
      default:
        break;
    }
    if (code < 0x80 && word_characters().contains(code) && code != '_') reject("an escape that is not a character");
    return code;
  }

  char32_t unicode() {
    if (take("{")) {
      char32_t code = 0;
      do {
        code = code * 16 + hex(1);
        if (code > 0x10FFFF) reject("a code point above 10FFFF");
      } while (peek() != '}' && !at_end());
      if (!take("}")) reject("a \\u{ without an end");
      return code;
    }
    const char32_t code = hex(4);
    if (code < 0xD800 || code > 0xDFFF) return code;
    if (code >= 0xDC00 || !take("\\u")) reject("half of a pair of surrogates");
    const char32_t low = hex(4);
    if (low < 0xDC00 || low > 0xDFFF) reject("half of a pair of surrogates");
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }

  char32_t hex(int count) {
    char32_t value = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) reject("a hexadecimal escape that lacks digits");
      value = value * 16 + static_cast<char32_t>(digit);
    }
    return value;
  }

  // After a '['.
  CharacterSet set() {
    const bool complement = take("^");
    std::vector<unicode::CharacterRange> ranges;
    while (peek() != ']') {
      if (at_end()) reject("a '[' without a ']'");
      std::optional<char32_t> first = member(ranges);
      if (peek() != '-' || text_.substr(at_).starts_with("-]")) {
        if (first) ranges.push_back({*first, *first});
        continue;
      }
      ++at_;
      const std::optional<char32_t> last = member(ranges);
      if (!first || !last || *first > *last) reject("a range without ordered ends");
      ranges.push_back({*first, *last});
    }
    ++at_;
    const CharacterSet result(std::move(ranges));
    return complement ? result.complement() : result;
  }

  // One character of a set, or nothing after adding \d and the like to `ranges`.
  std::optional<char32_t> member(std::vector<unicode::CharacterRange>& ranges) {
    if (!take("\\")) return take_character();
    if (const auto named = named_set()) {
      ranges.insert(ranges.end(), named->ranges().begin(), named->ranges().end());
      return std::nullopt;
    }
    if (take("b")) return '\b';
    return escaped();
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

ExpressionNode parse_pattern(std::string_view pattern, const std::string& where) {
  return PatternParser(pattern, where).whole();
}

}  // namespace mslt
