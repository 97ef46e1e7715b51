// Regular expressions of tokenizer.json files, matched as by Oniguruma.
//
// Supported are characters and escapes, sets ([...], nested, with ^ and &&, [:alpha:] and the like), \s \d \w \h
// \p{...} and their complements, groups, alternation, greedy, lazy and possessive quantifiers, atomic groups,
// look-ahead, look-behind of one character, ^ $ \A \z \Z \b \B and (?i). \s, \d and \w are Unicode's; the Unicode
// version is that of character_sets.h. As in Ruby, . is everything except a line feed, ^ and $ match at lines, and a +
// after {n,m} repeats once more instead of being possessive. Back-references are not supported. A byte outside valid
// UTF-8 is a character by itself, like U+FFFD.
//
// Matches are found by backtracking. If that takes more steps than the text explains, each failed state is remembered,
// so no state of a text is tried twice. The time is then linear in the text for expressions in which no part looks
// ahead repeatedly, and bounded for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/character_set.h"
#include "text/expression_tree.h"

namespace mslt {

// Immutable; safe to share between threads.
class Expression {
 public:
  // Throws Error(input) saying what is unsupported or invalid; the caller knows where the expression comes from.
  explicit Expression(std::string_view pattern);
  // From a tree; `name` represents it in errors.
  Expression(const ExpressionNode& tree, std::string_view name);
  // Matches the text itself, which must be valid UTF-8.
  static Expression literal(std::string_view text);

  const std::string& pattern() const { return pattern_; }

  // Whether a match can contain the character `left` directly followed by `right`. May be true more often than
  // necessary.
  bool may_join(char32_t left, char32_t right) const;
  // Whether a match can start with this character.
  bool may_start_with(char32_t code_point) const { return first_.contains(code_point); }
  // Whether the text before a position can affect a match from there, or that after a match the match, and whether the
  // empty text can match.
  bool looks_back() const { return looks_back_; }
  bool looks_ahead() const { return looks_ahead_; }
  bool can_be_empty() const { return can_be_empty_; }

 private:
  friend class ExpressionMatcher;
  struct Compiler;
  void build(const ExpressionNode& tree);

  enum class Operation : std::uint8_t {
    accept,
    character,   // one of `set`
    split,       // goes to `a`, then to `b`
    jump,        // to `a`
    loop,        // characters of `set`, as many as possible, giving back one by one
    keep_loop,   // the same, giving back none
    atomic,      // the part at `a` up to its accept, then `b`
    look_ahead,  // the part at `a`, then `b`
    look_behind,
    assertion,
  };
  struct Instruction {
    Operation operation = Operation::accept;
    bool negative = false;
    Assertion assertion = Assertion::begin_line;
    std::uint32_t set = 0;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t state = 0;  // number among the remembered states
  };

  std::string pattern_;
  std::vector<CharacterSet> sets_;
  std::vector<Instruction> program_;
  std::uint32_t states_ = 0;
  CharacterSet first_;
  // For each set in the tree, the union of the sets that may follow it within a match.
  struct Follow {
    std::uint32_t set = 0;
    CharacterSet next;
  };
  std::vector<Follow> follows_;
  bool looks_back_ = false;
  bool looks_ahead_ = false;
  bool can_be_empty_ = false;
};

// The matches of one expression in a text, from left to right. One thread at a time. Both must outlive it.
class ExpressionMatcher {
 public:
  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  explicit ExpressionMatcher(const Expression& expression);
  ExpressionMatcher(const ExpressionMatcher&) = delete;
  ExpressionMatcher& operator=(const ExpressionMatcher&) = delete;
  ~ExpressionMatcher();

  // Starts on a text, which must outlive its matches. `limit`: the first byte that is not certain; see reached().
  void start(std::string_view text, std::size_t limit = std::string_view::npos);

  // The next match, or nothing. Skips an empty match where the last one ended. Throws Error(input) if the text takes
  // too many steps.
  std::optional<Match> next();

  // The first position from which an attempt to match read at or beyond the limit, or nothing.
  std::optional<std::size_t> reached() const { return reached_; }

 private:
  struct Frame;
  struct Memory;
  enum class Purpose : std::uint8_t { match, atomic, look };
  struct Character {
    char32_t code_point;
    std::uint32_t length;  // 0 at the end of the text
  };

  Character at(std::size_t position);
  std::optional<std::size_t> run(std::uint32_t start, std::size_t position, Purpose purpose);
  bool holds(const Expression::Instruction& instruction, std::size_t position);
  bool is_of(std::uint32_t set, std::size_t position);
  void count_steps(std::size_t steps) {
    steps_ += steps;
    if (steps_ > steps_allowed_) slow_down();
  }
  void slow_down();
  bool known_to_fail(std::uint32_t state, std::size_t position) const;
  void remember_range(std::uint32_t state, std::size_t low, std::size_t high, bool success);
  std::size_t scan(const Expression::Instruction& instruction, std::size_t position);
  // Takes the next remaining alternative above `base`; false if there is none.
  bool resume(std::size_t base, std::uint32_t& counter, std::size_t& position);
  void remember_success(std::size_t base);

  const Expression& expression_;
  std::string_view text_;
  std::size_t limit_ = std::string_view::npos;
  std::optional<std::size_t> reached_;
  std::size_t attempt_ = 0;  // start of the current attempt
  std::size_t from_ = 0;     // start of the next search
  std::optional<std::size_t> last_end_;
  std::size_t furthest_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t steps_allowed_ = 0;
  std::vector<Frame> frames_;
  std::unique_ptr<Memory> memory_;  // made on demand
};

}  // namespace mslt
