// ByteGrammar: a pushdown automaton over bytes, as rules that call each other.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

using NodeId = std::uint32_t;
using RuleId = std::uint32_t;

// A value. Built by one thread; after finish(), const members may be called by several.
class ByteGrammar {
 public:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t max_nodes = 100'000;
  // The most calls that may be open at a time.
  static constexpr std::uint8_t max_calls = 64;
  static constexpr std::uint8_t never = 255;

  struct Edge {
    std::uint8_t first = 0;
    std::uint8_t last = 0;
    NodeId target = 0;
  };
  struct Node {
    std::vector<Edge> edges;   // one byte from `first` to `last`
    std::vector<NodeId> also;  // reached without a byte
    RuleId rule = none;        // called here, going on at `next`
    NodeId next = none;
    bool returns = false;        // the end of a rule
    std::uint8_t calls = never;  // fewest calls, open at a time, with which the rule ends from here
  };
  struct Rule {
    NodeId start = 0;
    NodeId end = 0;
    std::string name;  // for errors
  };

  NodeId add_node();
  RuleId add_rule(std::string name);
  void add_edge(NodeId from, std::uint8_t first, std::uint8_t last, NodeId to);
  void add_text(NodeId from, std::string_view text, NodeId to);
  void add_jump(NodeId from, NodeId to);
  void add_call(NodeId from, RuleId rule, NodeId to);

  // Rule 0 is the whole text. Checks that rules call none of themselves before a byte, and that a text exists. Throws
  // Error(input).
  void finish();

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  void check_recursion() const;
  void count_calls();

  std::vector<Node> nodes_;
  std::vector<Rule> rules_;
};

}  // namespace mslt
