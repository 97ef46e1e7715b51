// From a regular expression to a deterministic automaton of characters, by subsets.
#include "grammar/string_pattern.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "grammar/character_bytes.h"

namespace mslt {
namespace {

constexpr std::size_t max_pattern_nodes = 4'000;
constexpr std::size_t max_pattern_states = 2'000;
constexpr std::uint64_t max_pattern_steps = 20'000'000;

// The nondeterministic automaton (Thompson's).
class PatternNodes {
 public:
  enum class When : std::uint8_t { always, at_start, at_end };
  struct Jump {
    std::uint32_t target;
    When when;
  };
  struct Node {
    std::vector<Jump> jumps;
    std::optional<std::uint32_t> set;  // of a character to `target`
    std::uint32_t target = 0;
  };

  PatternNodes(const ExpressionNode& tree, const std::string& where) : where_(where) {
    start = add();
    accept = add();
    const std::uint32_t begin = add();
    const std::uint32_t end = add();
    const CharacterSet all = CharacterSet::all();
    jump(start, begin);
    character(start, all, start);
    build(tree, begin, end);
    jump(end, accept);
    character(accept, all, accept);
  }

  std::vector<Node> nodes;
  std::vector<CharacterSet> sets;
  std::uint32_t start = 0;
  std::uint32_t accept = 0;

 private:
  std::uint32_t add() {
    if (nodes.size() == max_pattern_nodes) {
      fail(ErrorKind::input, "{} is too large: its repeats come to more than {} parts.", where_, max_pattern_nodes);
    }
    nodes.emplace_back();
    return static_cast<std::uint32_t>(nodes.size() - 1);
  }
  void jump(std::uint32_t from, std::uint32_t to, When when = When::always) { nodes[from].jumps.push_back({to, when}); }
  void character(std::uint32_t from, const CharacterSet& set, std::uint32_t to) {
    const std::uint32_t node = add();
    const auto known = std::find(sets.begin(), sets.end(), set);
    nodes[node].set = static_cast<std::uint32_t>(known - sets.begin());
    nodes[node].target = to;
    if (known == sets.end()) sets.push_back(set);
    jump(from, node);
  }

  void build(const ExpressionNode& tree, std::uint32_t from, std::uint32_t to) {
    switch (tree.kind) {
      case ExpressionNode::Kind::set:
        return character(from, tree.set, to);
      case ExpressionNode::Kind::choice:
        for (const ExpressionNode& child : tree.children) build(child, from, to);
        return;
      case ExpressionNode::Kind::sequence:
        for (const ExpressionNode& child : tree.children) {
          const std::uint32_t next = add();
          build(child, from, next);
          from = next;
        }
        return jump(from, to);
      case ExpressionNode::Kind::assertion:
        return jump(from, to, tree.assertion == Assertion::begin_text ? When::at_start : When::at_end);
      case ExpressionNode::Kind::repeat:
        return repeat(tree, from, to);
      default:
        return jump(from, to);
    }
  }

  void repeat(const ExpressionNode& tree, std::uint32_t from, std::uint32_t to) {
    const ExpressionNode& child = tree.children.front();
    const auto once = [&](std::uint32_t at) {
      const std::uint32_t next = add();
      build(child, at, next);
      return next;
    };
    for (std::uint32_t i = 0; i < tree.least; ++i) from = once(from);
    if (tree.most == no_most) {
      // A node of its own, so that the loop is not entered from elsewhere.
      const std::uint32_t loop = add();
      jump(from, loop);
      jump(once(loop), loop);
      return jump(loop, to);
    }
    for (std::uint32_t i = tree.least; i < tree.most; ++i) {
      jump(from, to);
      from = once(from);
    }
    jump(from, to);
  }

  const std::string& where_;
};

// Characters that no set of the expression tells apart.
struct CharacterClasses {
  std::vector<std::vector<unicode::CharacterRange>> ranges;  // of each class
  std::vector<std::vector<std::uint32_t>> of_set;            // the classes of each set, ascending

  explicit CharacterClasses(const std::vector<CharacterSet>& sets) : of_set(sets.size()) {
    std::vector<char32_t> cuts{0, 0xD800, 0xE000};
    for (const CharacterSet& set : sets) {
      for (const auto& range : set.ranges()) {
        cuts.push_back(range.first);
        cuts.push_back(range.last + 1);
      }
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::map<std::vector<bool>, std::uint32_t> known;
    for (std::size_t i = 0; i < cuts.size(); ++i) {
      const char32_t first = cuts[i];
      const char32_t last = i + 1 < cuts.size() ? cuts[i + 1] - 1 : 0x10FFFF;
      if (first > 0x10FFFF || (first >= 0xD800 && first <= 0xDFFF)) continue;
      std::vector<bool> members;
      for (const CharacterSet& set : sets) members.push_back(set.contains(first));
      const auto [found, is_new] = known.try_emplace(members, static_cast<std::uint32_t>(ranges.size()));
      if (is_new) {
        ranges.emplace_back();
        for (std::size_t set = 0; set < sets.size(); ++set) {
          if (members[set]) of_set[set].push_back(found->second);
        }
      }
      ranges[found->second].push_back({first, last});
    }
  }
};

class SubsetAutomaton {
 public:
  struct State {
    std::vector<std::uint32_t> nodes;  // that read a character
    std::uint32_t length = 0;          // as far as bounds need it
    bool accepts = false;
    bool lives = false;                                        // an accepting state can follow
    std::map<std::uint32_t, std::vector<std::uint32_t>> next;  // the classes that lead to each state
  };

  SubsetAutomaton(const PatternNodes& pattern, const CharacterClasses& classes, const LengthBounds& bounds,
                  const std::string& where)
      : pattern_(pattern), classes_(classes), bounds_(bounds), where_(where), seen_(pattern.nodes.size(), 0) {
    state_of({pattern.start}, 0, true);
    for (std::uint32_t state = 0; state < states.size(); ++state) expand(state);
    find_living();
  }

  std::vector<State> states;

 private:
  void count(std::uint64_t steps) {
    steps_ += steps;
    if (steps_ > max_pattern_steps) reject();
  }
  [[noreturn]] void reject() const {
    fail(ErrorKind::input, "{} is too large: its automaton has more than {} states or takes too long to make.", where_,
         max_pattern_states);
  }

  // Follows jumps; returns whether `accept` is among the nodes.
  bool close(const std::vector<std::uint32_t>& from, bool at_start, bool at_end, std::vector<std::uint32_t>& reading) {
    ++round_;
    bool accepts = false;
    std::vector<std::uint32_t> left = from;
    while (!left.empty()) {
      const std::uint32_t node = left.back();
      left.pop_back();
      if (std::exchange(seen_[node], round_) == round_) continue;
      count(1);
      accepts = accepts || node == pattern_.accept;
      if (pattern_.nodes[node].set) reading.push_back(node);
      for (const auto& jump : pattern_.nodes[node].jumps) {
        if (jump.when == PatternNodes::When::at_start && !at_start) continue;
        if (jump.when == PatternNodes::When::at_end && !at_end) continue;
        left.push_back(jump.target);
      }
    }
    std::sort(reading.begin(), reading.end());
    return accepts;
  }

  std::uint32_t state_of(const std::vector<std::uint32_t>& from, std::uint32_t length, bool at_start) {
    std::vector<std::uint32_t> reading;
    close(from, at_start, false, reading);
    std::vector<std::uint32_t> unused;
    const bool accepts = close(from, at_start, true, unused) && length >= bounds_.least;
    const auto [found, is_new] =
        known_.try_emplace({reading, length, accepts}, static_cast<std::uint32_t>(states.size()));
    if (is_new) {
      if (states.size() == max_pattern_states) reject();
      states.push_back({.nodes = std::move(reading), .length = length, .accepts = accepts, .next = {}});
    }
    return found->second;
  }

  void expand(std::uint32_t state) {
    const std::uint32_t length = states[state].length;
    if (bounds_.most && length == *bounds_.most) return;
    const std::uint32_t next_length = bounds_.most ? length + 1 : std::min(length + 1, bounds_.least);
    std::map<std::uint32_t, std::vector<std::uint32_t>> targets;
    for (const std::uint32_t node : states[state].nodes) {
      const auto& of_set = classes_.of_set[*pattern_.nodes[node].set];
      count(of_set.size());
      for (const std::uint32_t one : of_set) targets[one].push_back(pattern_.nodes[node].target);
    }
    for (const auto& [one, from] : targets) {
      const std::uint32_t target = state_of(from, next_length, false);
      states[state].next[target].push_back(one);
    }
  }

  void find_living() {
    std::vector<std::vector<std::uint32_t>> before(states.size());
    std::vector<std::uint32_t> left;
    for (std::uint32_t state = 0; state < states.size(); ++state) {
      for (const auto& [target, unused] : states[state].next) before[target].push_back(state);
      if (states[state].accepts) left.push_back(state);
    }
    while (!left.empty()) {
      const std::uint32_t state = left.back();
      left.pop_back();
      if (std::exchange(states[state].lives, true)) continue;
      left.insert(left.end(), before[state].begin(), before[state].end());
    }
  }

  const PatternNodes& pattern_;
  const CharacterClasses& classes_;
  const LengthBounds& bounds_;
  const std::string& where_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t round_ = 0;
  std::uint64_t steps_ = 0;
  std::map<std::tuple<std::vector<std::uint32_t>, std::uint32_t, bool>, std::uint32_t> known_;
};

}  // namespace

void add_pattern(ByteGrammar& grammar, NodeId from, const ExpressionNode& tree, const LengthBounds& bounds, NodeId to,
                 const std::string& where) {
  const PatternNodes pattern(tree, where);
  const CharacterClasses classes(pattern.sets);
  const SubsetAutomaton automaton(pattern, classes, bounds, where);
  const auto& states = automaton.states;
  std::vector<NodeId> nodes(states.size(), ByteGrammar::none);
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (states[i].lives) nodes[i] = grammar.add_node();
  }
  if (!states[0].lives) return;
  // The start may come again, but `from` may have other ways on.
  grammar.add_jump(from, nodes[0]);
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (!states[i].lives) continue;
    if (states[i].accepts) grammar.add_edge(nodes[i], '"', '"', to);
    for (const auto& [target, members] : states[i].next) {
      if (!states[target].lives) continue;
      std::vector<unicode::CharacterRange> ranges;
      for (const std::uint32_t one : members) {
        ranges.insert(ranges.end(), classes.ranges[one].begin(), classes.ranges[one].end());
      }
      add_string_character(grammar, nodes[i], CharacterSet(std::move(ranges)), nodes[target]);
    }
  }
}

}  // namespace mslt
