// Digits of numbers between bounds.
#include "grammar/json_numbers.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace mslt {
namespace {

constexpr int fraction_digits = 17;

void add_digits(ByteGrammar& grammar, NodeId from, char first, char last, NodeId to) {
  if (first <= last) grammar.add_edge(from, static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last), to);
}

// Natural numbers from `low` to `high` without leading zeros.
class RangeDigits {
 public:
  RangeDigits(ByteGrammar& grammar, NodeId to) : grammar_(grammar), free_{to} {}

  void add(NodeId from, std::int64_t low, std::int64_t high) {
    if (low > high) return;
    const std::string lowest = std::to_string(low);
    const std::string highest = std::to_string(high);
    for (std::size_t size = lowest.size(); size <= highest.size(); ++size) {
      const bool with_low = size == lowest.size();
      const bool with_high = size == highest.size();
      const std::string first = with_low ? lowest : "1" + std::string(size - 1, '0');
      const std::string last = with_high ? highest : std::string(size, '9');
      add_tight(from, first, last, 0, true, true);
    }
  }

 private:
  // The node before so many more digits of any kind.
  NodeId free_node(std::size_t digits) {
    while (free_.size() <= digits) {
      const NodeId node = grammar_.add_node();
      add_digits(grammar_, node, '0', '9', free_.back());
      free_.push_back(node);
    }
    return free_[digits];
  }

  // The digits from `at` on, which are bounded below if all before are those of `first`, and above likewise.
  void add_tight(NodeId from, const std::string& first, const std::string& last, std::size_t at, bool low, bool high) {
    const std::size_t rest = first.size() - at - 1;
    const char lowest = low ? first[at] : '0';
    const char highest = high ? last[at] : '9';
    const auto edge = [&](char digit, bool low_next, bool high_next) {
      if (rest == 0) return add_digits(grammar_, from, digit, digit, free_node(0));
      const NodeId next = grammar_.add_node();
      add_digits(grammar_, from, digit, digit, next);
      add_tight(next, first, last, at + 1, low_next, high_next);
    };
    if (low && high && lowest == highest) return edge(lowest, true, true);
    if (low) edge(lowest, true, false);
    if (high) edge(highest, false, true);
    add_digits(grammar_, from, static_cast<char>(lowest + (low ? 1 : 0)), static_cast<char>(highest - (high ? 1 : 0)),
               free_node(rest));
  }

  ByteGrammar& grammar_;
  std::vector<NodeId> free_;
};

// From before the point, or behind a number without one, to `to`.
NodeId fraction(ByteGrammar& grammar, NodeId to) {
  const NodeId before = grammar.add_node();
  grammar.add_jump(before, to);
  NodeId at = grammar.add_node();
  grammar.add_edge(before, '.', '.', at);
  for (int i = 0; i < fraction_digits; ++i) {
    const NodeId next = grammar.add_node();
    add_digits(grammar, at, '0', '9', next);
    grammar.add_jump(next, to);
    at = next;
  }
  return before;
}

// A point and digits, not all of them zero.
NodeId nonzero_fraction(ByteGrammar& grammar, NodeId to) {
  const NodeId before = grammar.add_node();
  NodeId zeros = grammar.add_node();
  grammar.add_edge(before, '.', '.', zeros);
  NodeId other = ByteGrammar::none;
  for (int i = 0; i < fraction_digits; ++i) {
    const NodeId next_other = grammar.add_node();
    grammar.add_jump(next_other, to);
    add_digits(grammar, zeros, '1', '9', next_other);
    if (other != ByteGrammar::none) add_digits(grammar, other, '0', '9', next_other);
    other = next_other;
    if (i + 1 == fraction_digits) break;
    const NodeId next_zeros = grammar.add_node();
    add_digits(grammar, zeros, '0', '0', next_zeros);
    zeros = next_zeros;
  }
  return before;
}

// Absolute values of numbers between bounds of at least 0.
void add_magnitude(ByteGrammar& grammar, NodeId from, std::int64_t low, bool low_excluded, std::int64_t high,
                   bool high_excluded, NodeId to) {
  if (low > high || (low == high && (low_excluded || high_excluded))) return;
  if (low == high) return RangeDigits(grammar, to).add(from, low, low);
  if (low_excluded) RangeDigits(grammar, nonzero_fraction(grammar, to)).add(from, low, low);
  RangeDigits(grammar, fraction(grammar, to)).add(from, low + (low_excluded ? 1 : 0), high - 1);
  if (!high_excluded) RangeDigits(grammar, to).add(from, high, high);
}

NodeId minus(ByteGrammar& grammar, NodeId from) {
  const NodeId next = grammar.add_node();
  grammar.add_edge(from, '-', '-', next);
  return next;
}

}  // namespace

void add_integer(ByteGrammar& grammar, NodeId from, const NumberBounds& bounds, NodeId to) {
  const std::int64_t low = bounds.least.value_or(-max_json_integer) + (bounds.least_excluded ? 1 : 0);
  const std::int64_t high = bounds.most.value_or(max_json_integer) - (bounds.most_excluded ? 1 : 0);
  if (high >= 0) RangeDigits(grammar, to).add(from, std::max<std::int64_t>(low, 0), high);
  if (low < 0) {
    RangeDigits(grammar, to).add(minus(grammar, from), std::max<std::int64_t>(-high, 1), -low);
  }
}

void add_number(ByteGrammar& grammar, NodeId from, const NumberBounds& bounds, NodeId to) {
  if (!bounds.least && !bounds.most) {
    const NodeId behind = grammar.add_node();
    const NodeId digits = fraction(grammar, behind);
    RangeDigits(grammar, digits).add(from, 0, max_json_integer);
    RangeDigits(grammar, digits).add(minus(grammar, from), 0, max_json_integer);
    grammar.add_jump(behind, to);
    const NodeId exponent = grammar.add_node();
    grammar.add_edge(behind, 'e', 'e', exponent);
    grammar.add_edge(behind, 'E', 'E', exponent);
    const NodeId sign = grammar.add_node();
    grammar.add_jump(exponent, sign);
    grammar.add_edge(exponent, '+', '+', sign);
    grammar.add_edge(exponent, '-', '-', sign);
    const NodeId one = grammar.add_node();
    add_digits(grammar, sign, '0', '9', one);
    grammar.add_jump(one, to);
    add_digits(grammar, one, '0', '9', to);
    return;
  }
  const std::int64_t low = bounds.least.value_or(-max_json_integer);
  const std::int64_t high = bounds.most.value_or(max_json_integer);
  if (high >= 0) {
    add_magnitude(grammar, from, std::max<std::int64_t>(low, 0), low >= 0 && bounds.least_excluded, high,
                  bounds.most_excluded, to);
  }
  if (low < 0) {
    add_magnitude(grammar, minus(grammar, from), std::max<std::int64_t>(-high, 0), high <= 0 && bounds.most_excluded,
                  -low, bounds.least_excluded, to);
  }
}

}  // namespace mslt
