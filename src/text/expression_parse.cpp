// Recursive descent over an expression in Oniguruma's Ruby syntax.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/fail.h"
#include "text/expression_property.h"
#include "text/expression_tree.h"
#include "text/utf8.h"

namespace mslt {
namespace {

constexpr std::uint32_t max_repeat_count = 1000;
constexpr int max_expression_depth = 64;

class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view text) : text_(text) {}

  ExpressionNode whole() {
    ExpressionNode node = choice();
    if (!at_end()) reject("a ')' without a '('");
    return node;
  }

 private:
  // Raises the nesting depth while it lives.
  class Level {
   public:
    explicit Level(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > max_expression_depth) parser_.reject("more than 64 nested groups or brackets");
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --parser_.depth_; }

   private:
    ExpressionParser& parser_;
  };

  [[noreturn]] void reject(std::string_view what) const {
    fail(ErrorKind::input, "the expression {} has {} before byte {}, which is not supported", text_, what, at_);
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

  ExpressionNode choice() {
    const Level level(*this);
    const bool outer_case = ignore_case_;  // (?i) applies to the end of its group
    std::vector<ExpressionNode> branches;
    do {
      branches.push_back(sequence());
    } while (take("|"));
    ignore_case_ = outer_case;
    if (branches.size() == 1) return std::move(branches.front());
    return {.kind = ExpressionNode::Kind::choice, .set = {}, .children = std::move(branches)};
  }

  ExpressionNode sequence() {
    ExpressionNode node{.kind = ExpressionNode::Kind::sequence, .set = {}, .children = {}};
    char32_t previous = 0;  // a letter whose case is ignored
    while (!at_end() && peek() != '|' && peek() != ')') {
      const bool is_letter = ignore_case_ && ((peek() >= 'a' && peek() <= 'z') || (peek() >= 'A' && peek() <= 'Z'));
      const char32_t letter = is_letter ? static_cast<char32_t>(peek() | 0x20) : 0;
      const bool folds = (letter == 's' && previous == 's') || (letter == 't' && previous == 's') ||
                         (previous == 'f' && (letter == 'f' || letter == 'i' || letter == 'l'));
      if (folds) reject("ss, st, ff, fi or fl ignoring case (single characters match these too)");
      previous = letter;
      std::optional<ExpressionNode> atom = one_atom();
      if (atom) node.children.push_back(quantified(std::move(*atom)));
    }
    return node;
  }

  static ExpressionNode of_set(CharacterSet set) {
    return {.kind = ExpressionNode::Kind::set, .set = std::move(set), .children = {}};
  }

  // Nothing for an option for the rest of the group, such as (?i).
  std::optional<ExpressionNode> one_atom() {
    if (take("(")) return group();
    if (peek() == '[') {
      ++at_;
      return of_set(bracket());
    }
    if (take(".")) return of_set(CharacterSet::of('\n', '\n').complement());
    if (take("^")) return assertion(Assertion::begin_line);
    if (take("$")) return assertion(Assertion::end_line);
    if (peek() == '*' || peek() == '+' || peek() == '?') reject("a quantifier with nothing to repeat");
    if (take("\\")) {
      switch (peek()) {
        case 'A':
          ++at_;
          return assertion(Assertion::begin_text);
        case 'z':
          ++at_;
          return assertion(Assertion::end_text);
        case 'Z':
          ++at_;
          return assertion(Assertion::end_text_or_last_line);
        case 'b':
          ++at_;
          return assertion(Assertion::word_boundary);
        case 'B':
          ++at_;
          return assertion(Assertion::no_word_boundary);
        default:
          return of_set(escaped(false));
      }
    }
    return of_set(literal(take_character()));
  }

  static ExpressionNode assertion(Assertion assertion) {
    return {.kind = ExpressionNode::Kind::assertion, .assertion = assertion, .set = {}, .children = {}};
  }

  CharacterSet literal(char32_t point) const {
    const CharacterSet set = CharacterSet::of(point, point);
    if (!ignore_case_) return set;
    check_case(set);
    return set.without_case();
  }

  // Ignoring case is supported for ASCII only.
  void check_case(const CharacterSet& set) const {
    const CharacterSet beyond_ascii = CharacterSet::of(0x80, 0x10FFFF);
    if (set.intersected(beyond_ascii).empty()) return;
    const CharacterSet cased = CharacterSet::named("Lu")
                                   .united(CharacterSet::named("Ll"))
                                   .united(CharacterSet::named("Lt"))
                                   .intersected(beyond_ascii);
    const CharacterSet beyond = set.intersected(cased);
    // Sets such as \p{L} contain both cases of every letter.
    if (!beyond.empty() && !(beyond == cased)) reject("a letter beyond ASCII ignoring case");
  }

  std::optional<ExpressionNode> group() {
    if (!take("?")) return closed(choice());
    if (take("#")) {
      const std::size_t end = text_.find(')', at_);
      if (end == std::string_view::npos) reject("a comment without an end");
      at_ = end + 1;
      return std::nullopt;
    }
    if (take(":")) return closed(choice());
    if (take(">")) return around(ExpressionNode::Kind::atomic, false);
    if (take("=")) return around(ExpressionNode::Kind::look_ahead, false);
    if (take("!")) return around(ExpressionNode::Kind::look_ahead, true);
    if (take("<=")) return look_behind(false);
    if (take("<!")) return look_behind(true);
    if (take("<")) {
      const std::size_t end = text_.find('>', at_);
      if (end == std::string_view::npos) reject("a group's name without an end");
      at_ = end + 1;
      return closed(choice());
    }
    const bool outer = ignore_case_;
    bool on = true;
    bool wanted = ignore_case_;
    while (true) {
      if (take("-")) {
        on = false;
      } else if (take("i")) {
        wanted = on;
      } else {
        break;
      }
    }
    if (take(")")) {
      // From here to the end of the group, including branches after a |.
      ignore_case_ = wanted;
      return std::nullopt;
    }
    if (!take(":")) reject("an option of a group other than i");
    ignore_case_ = wanted;
    ExpressionNode node = closed(choice());
    ignore_case_ = outer;
    return node;
  }

  ExpressionNode closed(ExpressionNode node) {
    if (!take(")")) reject("a '(' without its ')'");
    return node;
  }

  ExpressionNode around(ExpressionNode::Kind kind, bool negative) {
    ExpressionNode node{.kind = kind, .negative = negative, .set = {}, .children = {}};
    node.children.push_back(closed(choice()));
    return node;
  }

  ExpressionNode look_behind(bool negative) {
    const ExpressionNode body = closed(choice());
    const ExpressionNode* one = &body;
    while (one->kind == ExpressionNode::Kind::sequence && one->children.size() == 1) one = &one->children.front();
    if (one->kind != ExpressionNode::Kind::set) reject("a look-behind of other than one character");
    return {.kind = ExpressionNode::Kind::look_behind, .negative = negative, .set = one->set, .children = {}};
  }

  std::optional<std::uint32_t> number() {
    std::uint32_t value = 0;
    const std::size_t start = at_;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      if (value > max_repeat_count) reject("a count of more than 1000");
      ++at_;
    }
    return at_ == start ? std::nullopt : std::optional(value);
  }

  struct Counts {
    std::uint32_t least;
    std::uint32_t most;
    bool is_interval;  // {n,m}, after which a + repeats again and is not possessive
    bool is_fixed;     // {n}
  };

  // {n}, {n,}, {n,m} or {,m}; anything else is text.
  std::optional<Counts> interval() {
    const std::size_t start = at_;
    if (!take("{")) return std::nullopt;
    const auto least = number();
    if (least && take("}")) return Counts{*least, *least, true, true};
    if (take(",")) {
      const auto most = number();
      if ((least || most) && take("}")) {
        if (most && least && *most < *least) reject("a count whose limits are the wrong way round");
        return Counts{least.value_or(0), most.value_or(no_most), true, false};
      }
    }
    at_ = start;
    return std::nullopt;
  }

  std::optional<Counts> counts() {
    if (take("*")) return Counts{0, no_most, false, false};
    if (take("+")) return Counts{1, no_most, false, false};
    if (take("?")) return Counts{0, 1, false, false};
    return interval();
  }

  ExpressionNode quantified(ExpressionNode node) {
    int nested = 0;
    while (const auto found = counts()) {
      const bool zero_width = node.kind == ExpressionNode::Kind::look_ahead ||
                              node.kind == ExpressionNode::Kind::look_behind ||
                              node.kind == ExpressionNode::Kind::assertion;
      if (zero_width) reject("a quantifier of something without width");
      if (++nested > 8) reject("more than eight quantifiers in a row");
      ExpressionNode::Greed greed = ExpressionNode::Greed::greedy;
      // After {n}, ? makes it optional and + repeats it: the loop handles them as separate quantifiers.
      if (!found->is_fixed && take("?")) {
        greed = ExpressionNode::Greed::lazy;
      } else if (!found->is_interval && take("+")) {
        greed = ExpressionNode::Greed::possessive;
      }
      ExpressionNode repeat{.kind = ExpressionNode::Kind::repeat,
                            .greed = greed,
                            .least = found->least,
                            .most = found->most,
                            .set = {},
                            .children = {}};
      repeat.children.push_back(std::move(node));
      node = std::move(repeat);
    }
    return node;
  }

  char32_t hexadecimal(std::size_t least, std::size_t most) {
    char32_t value = 0;
    std::size_t count = 0;
    for (; count < most; ++count) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    if (count < least || value > 0x10FFFF) reject("a character with an invalid number");
    return value;
  }

  // The escape after a backslash, as a set. Sets `single_` if it is one character, which may start a range.
  CharacterSet escaped(bool in_bracket) {
    single_ = std::nullopt;
    const char32_t point = take_character();
    switch (point) {
      case 's':
        return CharacterSet::named("space");
      case 'S':
        return CharacterSet::named("space").complement();
      case 'd':
        return CharacterSet::named("Nd");
      case 'D':
        return CharacterSet::named("Nd").complement();
      case 'w':
        return CharacterSet::named("word");
      case 'W':
        return CharacterSet::named("word").complement();
      case 'h':
        return CharacterSet({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
      case 'H':
        return CharacterSet({{'0', '9'}, {'a', 'f'}, {'A', 'F'}}).complement();
      case 'p':
      case 'P':
        return named_property(point == 'P');
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 't':
        return single('\t');
      case 'v':
        return single('\v');
      case 'f':
        return single('\f');
      case 'a':
        return single('\a');
      case 'e':
        return single(0x1B);
      case 'b':
        if (in_bracket) return single('\b');
        break;
      case 'u':
        return single(hexadecimal(4, 4));
      case 'x': {
        if (!take("{")) {
          const char32_t value = hexadecimal(1, 2);
          if (value >= 0x80) reject("\\x with a byte beyond ASCII");
          return single(value);
        }
        const char32_t value = hexadecimal(1, 8);
        if (!take("}")) reject("\\x{ without its }");
        return single(value);
      }
      default:
        break;
    }
    const bool is_word =
        (point >= '0' && point <= '9') || (point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z');
    if (is_word) reject("this escape");
    return single(point);
  }

  CharacterSet single(char32_t point) {
    single_ = point;
    return in_bracket_ ? CharacterSet::of(point, point) : literal(point);
  }

  CharacterSet named_property(bool negative) {
    if (!take("{")) reject("\\p without {");
    if (take("^")) negative = !negative;
    const std::size_t end = text_.find('}', at_);
    if (end == std::string_view::npos) reject("\\p{ without its }");
    const auto set = expression_property(text_.substr(at_, end - at_));
    if (!set) {
      reject("the property " + std::string(text_.substr(at_, end - at_)) + " (known are general categories and " +
             "the more common scripts)");
    }
    at_ = end + 1;
    return negative ? set->complement() : *set;
  }

  std::optional<CharacterSet> posix_class() {
    if (!text_.substr(at_).starts_with("[:")) return std::nullopt;
    const std::size_t end = text_.find(":]", at_ + 2);
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view name = text_.substr(at_ + 2, end - at_ - 2);
    const bool negative = name.starts_with('^');
    if (negative) name.remove_prefix(1);
    const auto set = expression_class(name);
    if (!set) reject("the class [:" + std::string(name) + ":]");
    at_ = end + 2;
    return negative ? set->complement() : set;
  }

  // The contents of brackets, from after the first one to after the last one.
  CharacterSet bracket() {
    const Level level(*this);
    const bool outer = std::exchange(in_bracket_, true);
    const bool negative = take("^");
    std::optional<CharacterSet> left;  // of &&
    CharacterSet set;
    for (bool first = true;; first = false) {
      if (at_end()) reject("a '[' without its ']'");
      if (peek() == ']' && !first) break;
      if (take("&&")) {
        left = left ? left->intersected(set) : set;
        set = CharacterSet();
        continue;
      }
      set = set.united(bracket_item());
    }
    ++at_;
    in_bracket_ = outer;
    if (left) set = left->intersected(set);
    if (ignore_case_) {
      check_case(set);
      set = set.without_case();
    }
    return negative ? set.complement() : set;
  }

  CharacterSet bracket_item() {
    if (auto posix = posix_class()) return *posix;
    if (take("[")) return bracket();
    CharacterSet set;
    if (take("\\")) {
      set = escaped(true);
    } else {
      single_ = take_character();
      set = CharacterSet::of(*single_, *single_);
    }
    const bool is_range = peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
    if (!is_range || !single_) return set;
    const char32_t low = *single_;
    ++at_;
    if (peek() == '[') reject("a range that ends with a bracket");
    if (take("\\")) {
      static_cast<void>(escaped(true));
    } else {
      single_ = take_character();
    }
    if (!single_ || *single_ < low) reject("a range whose end is not a character after its start");
    return CharacterSet::of(low, *single_);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool ignore_case_ = false;
  bool in_bracket_ = false;
  std::optional<char32_t> single_;
};

}  // namespace

ExpressionNode parse_expression(std::string_view pattern) {
  constexpr std::size_t max_bytes = std::size_t{1} << 14;
  if (pattern.size() > max_bytes) {
    fail(ErrorKind::input, "the expression has {} bytes; at most {} are possible", pattern.size(), max_bytes);
  }
  return ExpressionParser(pattern).whole();
}

}  // namespace mslt
