// Building a grammar of bytes, and what must hold before it is walked.
#include "grammar/byte_grammar.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace mslt {

NodeId ByteGrammar::add_node() {
  if (nodes_.size() == max_nodes) {
    fail(ErrorKind::input, "The JSON schema needs an automaton of more than {} states; make its bounds smaller.",
         max_nodes);
  }
  nodes_.emplace_back();
  return static_cast<NodeId>(nodes_.size() - 1);
}

RuleId ByteGrammar::add_rule(std::string name) {
  const NodeId start = add_node();
  const NodeId end = add_node();
  nodes_[end].returns = true;
  rules_.push_back({start, end, std::move(name)});
  return static_cast<RuleId>(rules_.size() - 1);
}

void ByteGrammar::add_edge(NodeId from, std::uint8_t first, std::uint8_t last, NodeId to) {
  nodes_[from].edges.push_back({first, last, to});
}

void ByteGrammar::add_text(NodeId from, std::string_view text, NodeId to) {
  if (text.empty()) return add_jump(from, to);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const NodeId next = i + 1 == text.size() ? to : add_node();
    const auto byte = static_cast<std::uint8_t>(text[i]);
    add_edge(from, byte, byte, next);
    from = next;
  }
}

void ByteGrammar::add_jump(NodeId from, NodeId to) {
  nodes_[from].also.push_back(to);
}

void ByteGrammar::add_call(NodeId from, RuleId rule, NodeId to) {
  const NodeId call = add_node();
  nodes_[call].rule = rule;
  nodes_[call].next = to;
  add_jump(from, call);
}

void ByteGrammar::finish() {
  check_recursion();
  count_calls();
  if (nodes_[rules_[0].start].calls > max_calls) {
    fail(ErrorKind::input, "No JSON text of at most {} levels satisfies the schema.", max_calls);
  }
}

void ByteGrammar::check_recursion() const {
  // The nodes that a rule reaches before its first byte; no rule of JSON is empty, so calls need not be followed
  // beyond.
  std::vector<std::vector<RuleId>> heads(rules_.size());
  std::vector<RuleId> seen(nodes_.size(), none);
  for (RuleId rule = 0; rule < rules_.size(); ++rule) {
    std::vector<NodeId> left{rules_[rule].start};
    while (!left.empty()) {
      const NodeId node = left.back();
      left.pop_back();
      if (std::exchange(seen[node], rule) == rule) continue;
      if (nodes_[node].rule != none) heads[rule].push_back(nodes_[node].rule);
      left.insert(left.end(), nodes_[node].also.begin(), nodes_[node].also.end());
    }
  }
  enum class Colour : std::uint8_t { fresh, open, done };
  std::vector<Colour> colours(rules_.size(), Colour::fresh);
  for (RuleId root = 0; root < rules_.size(); ++root) {
    if (colours[root] != Colour::fresh) continue;
    std::vector<std::pair<RuleId, std::size_t>> path{{root, 0}};
    colours[root] = Colour::open;
    while (!path.empty()) {
      auto& [rule, position] = path.back();
      if (position == heads[rule].size()) {
        colours[rule] = Colour::done;
        path.pop_back();
        continue;
      }
      const RuleId called = heads[rule][position++];
      if (colours[called] == Colour::open) {
        fail(ErrorKind::input, "The JSON schema {} refers to itself without an object or an array between.",
             rules_[called].name);
      }
      if (colours[called] == Colour::fresh) {
        colours[called] = Colour::open;
        path.emplace_back(called, 0);
      }
    }
  }
}

void ByteGrammar::count_calls() {
  std::vector<std::vector<NodeId>> before(nodes_.size());
  std::vector<std::vector<NodeId>> callers(rules_.size());
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    const Node& node = nodes_[id];
    for (const Edge& edge : node.edges) before[edge.target].push_back(id);
    for (const NodeId target : node.also) before[target].push_back(id);
    if (node.rule != none) {
      before[node.next].push_back(id);
      callers[node.rule].push_back(id);
    }
  }
  // Rules whose start was reached with the number of calls of the last round open further ones in this.
  std::vector<NodeId> fresh;
  for (const Rule& rule : rules_) fresh.push_back(rule.end);
  std::vector<RuleId> ready;
  for (std::uint8_t calls = 0; calls <= max_calls; ++calls) {
    for (const RuleId rule : ready) fresh.insert(fresh.end(), callers[rule].begin(), callers[rule].end());
    while (!fresh.empty()) {
      const NodeId id = fresh.back();
      fresh.pop_back();
      Node& node = nodes_[id];
      if (node.calls != never) continue;
      if (node.rule != none) {
        const bool called_ends = nodes_[rules_[node.rule].start].calls < calls;
        if (!called_ends || nodes_[node.next].calls == never) continue;
      }
      node.calls = calls;
      fresh.insert(fresh.end(), before[id].begin(), before[id].end());
    }
    ready.clear();
    for (RuleId rule = 0; rule < rules_.size(); ++rule) {
      if (nodes_[rules_[rule].start].calls == calls) ready.push_back(rule);
    }
  }
}

}  // namespace mslt
