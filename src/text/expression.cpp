// Compiling a syntax tree to instructions, and computing which characters can follow one another in a match.
#include "text/expression.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::size_t max_instructions = std::size_t{1} << 15;

bool node_can_be_empty(const ExpressionNode& node) {
  const auto child_can = [](const ExpressionNode& child) {
    return node_can_be_empty(child);
  };
  switch (node.kind) {
    case ExpressionNode::Kind::set:
      return false;
    case ExpressionNode::Kind::sequence:
      return std::all_of(node.children.begin(), node.children.end(), child_can);
    case ExpressionNode::Kind::choice:
      return std::any_of(node.children.begin(), node.children.end(), child_can);
    case ExpressionNode::Kind::repeat:
      return node.least == 0 || node_can_be_empty(node.children.front());
    case ExpressionNode::Kind::atomic:
      return node_can_be_empty(node.children.front());
    default:
      return true;
  }
}

bool node_looks_back(const ExpressionNode& node) {
  if (node.kind == ExpressionNode::Kind::look_behind) return true;
  if (node.kind == ExpressionNode::Kind::assertion) {
    const bool forward = node.assertion == Assertion::end_line || node.assertion == Assertion::end_text ||
                         node.assertion == Assertion::end_text_or_last_line;
    return !forward;
  }
  return std::any_of(node.children.begin(), node.children.end(), node_looks_back);
}

bool node_looks_ahead(const ExpressionNode& node) {
  using Kind = ExpressionNode::Kind;
  return node.kind == Kind::look_ahead || node.kind == Kind::assertion ||
         std::any_of(node.children.begin(), node.children.end(), node_looks_ahead);
}

}  // namespace

struct Expression::Compiler {
  explicit Compiler(Expression& made) : expression(made) {}

  // The sets of the tree with which a match of a part can start and end.
  struct Ends {
    std::vector<std::uint32_t> first;
    std::vector<std::uint32_t> last;
    bool empty = true;
  };

  std::uint32_t here() const { return static_cast<std::uint32_t>(expression.program_.size()); }

  std::uint32_t emit(Instruction instruction) {
    if (expression.program_.size() == max_instructions) {
      fail(ErrorKind::input, "the expression {} is too large once its counts are written out", expression.pattern_);
    }
    const bool has_state = instruction.operation == Operation::split || instruction.operation == Operation::loop ||
                           instruction.operation == Operation::keep_loop;
    if (has_state) instruction.state = expression.states_++;
    expression.program_.push_back(instruction);
    return here() - 1;
  }

  Instruction& at(std::uint32_t index) { return expression.program_[index]; }

  std::uint32_t set_of(const CharacterSet& set) {
    const auto known = std::find(expression.sets_.begin(), expression.sets_.end(), set);
    if (known != expression.sets_.end()) return static_cast<std::uint32_t>(known - expression.sets_.begin());
    expression.sets_.push_back(set);
    return static_cast<std::uint32_t>(expression.sets_.size() - 1);
  }

  void compile(const ExpressionNode& node) {
    switch (node.kind) {
      case ExpressionNode::Kind::nothing:
        break;
      case ExpressionNode::Kind::set:
        emit({.operation = Operation::character, .set = set_of(node.set)});
        break;
      case ExpressionNode::Kind::sequence:
        for (const ExpressionNode& child : node.children) compile(child);
        break;
      case ExpressionNode::Kind::choice:
        compile_choice(node);
        break;
      case ExpressionNode::Kind::repeat:
        compile_repeat(node);
        break;
      case ExpressionNode::Kind::atomic:
        compile_part(node.children.front(), Operation::atomic, false);
        break;
      case ExpressionNode::Kind::look_ahead:
        compile_part(node.children.front(), Operation::look_ahead, node.negative);
        break;
      case ExpressionNode::Kind::look_behind:
        emit({.operation = Operation::look_behind, .negative = node.negative, .set = set_of(node.set)});
        break;
      case ExpressionNode::Kind::assertion:
        emit({.operation = Operation::assertion,
              .assertion = node.assertion,
              .set = set_of(CharacterSet::named("word"))});
        break;
    }
  }

  void compile_choice(const ExpressionNode& node) {
    std::vector<std::uint32_t> jumps;
    for (std::size_t i = 0; i + 1 < node.children.size(); ++i) {
      const std::uint32_t split = emit({.operation = Operation::split});
      at(split).a = here();
      compile(node.children[i]);
      jumps.push_back(emit({.operation = Operation::jump}));
      at(split).b = here();
    }
    compile(node.children.back());
    for (const std::uint32_t jump : jumps) at(jump).a = here();
  }

  // A part that runs by itself and ends with its own accept.
  void compile_part(const ExpressionNode& body, Operation operation, bool negative) {
    const std::uint32_t part = emit({.operation = operation, .negative = negative});
    at(part).a = here();
    compile(body);
    emit({.operation = Operation::accept});
    at(part).b = here();
  }

  void compile_repeat(const ExpressionNode& node) {
    const ExpressionNode& body = node.children.front();
    const bool endless = node.most == no_most;
    if (endless && node_can_be_empty(body)) {
      fail(ErrorKind::input,
           "the expression {} repeats a part that can match nothing without a limit, which is not supported",
           expression.pattern_);
    }
    const bool is_loop = endless && body.kind == ExpressionNode::Kind::set && node.greed != ExpressionNode::Greed::lazy;
    if (node.greed == ExpressionNode::Greed::possessive && !is_loop) {
      ExpressionNode greedy = node;
      greedy.greed = ExpressionNode::Greed::greedy;
      compile_part(greedy, Operation::atomic, false);
      return;
    }
    for (std::uint32_t i = 0; i < node.least; ++i) compile(body);
    if (is_loop) {
      emit({.operation = node.greed == ExpressionNode::Greed::possessive ? Operation::keep_loop : Operation::loop,
            .set = set_of(body.set)});
    } else if (endless) {
      const std::uint32_t split = emit({.operation = Operation::split});
      const std::uint32_t start = here();
      compile(body);
      emit({.operation = Operation::jump, .a = split});
      set_ways(split, start, here(), node.greed);
    } else {
      std::vector<std::pair<std::uint32_t, std::uint32_t>> splits;
      for (std::uint32_t i = node.least; i < node.most; ++i) {
        const std::uint32_t split = emit({.operation = Operation::split});
        splits.emplace_back(split, here());
        compile(body);
      }
      for (const auto& [split, start] : splits) set_ways(split, start, here(), node.greed);
    }
  }

  void set_ways(std::uint32_t split, std::uint32_t again, std::uint32_t leave, ExpressionNode::Greed greed) {
    at(split).a = greed == ExpressionNode::Greed::lazy ? leave : again;
    at(split).b = greed == ExpressionNode::Greed::lazy ? again : leave;
  }

  // Fills follows_ and returns the ends: the construction of Glushkov's automaton. Ignores look-aheads, which only
  // makes more possible.
  Ends analyse(const ExpressionNode& node) {
    Ends ends;
    if (node.kind == ExpressionNode::Kind::set) {
      const auto leaf = static_cast<std::uint32_t>(expression.follows_.size());
      expression.follows_.push_back({.set = set_of(node.set), .next = {}});
      return {{leaf}, {leaf}, false};
    }
    if (node.kind == ExpressionNode::Kind::sequence) {
      for (const ExpressionNode& child : node.children) {
        const Ends next = analyse(child);
        join(ends.last, next.first);
        if (ends.empty) ends.first.insert(ends.first.end(), next.first.begin(), next.first.end());
        if (!next.empty) ends.last.clear();
        ends.last.insert(ends.last.end(), next.last.begin(), next.last.end());
        ends.empty = ends.empty && next.empty;
      }
    } else if (node.kind == ExpressionNode::Kind::choice) {
      ends.empty = false;
      for (const ExpressionNode& child : node.children) {
        const Ends next = analyse(child);
        ends.first.insert(ends.first.end(), next.first.begin(), next.first.end());
        ends.last.insert(ends.last.end(), next.last.begin(), next.last.end());
        ends.empty = ends.empty || next.empty;
      }
    } else if (node.kind == ExpressionNode::Kind::repeat && node.most > 0) {
      ends = analyse(node.children.front());
      if (node.most > 1) join(ends.last, ends.first);
      ends.empty = ends.empty || node.least == 0;
    } else if (node.kind == ExpressionNode::Kind::atomic) {
      ends = analyse(node.children.front());
    }
    return ends;
  }

  void join(const std::vector<std::uint32_t>& lasts, const std::vector<std::uint32_t>& firsts) {
    const CharacterSet next = union_of(firsts);
    for (const std::uint32_t last : lasts) {
      CharacterSet& follow = expression.follows_[last].next;
      follow = follow.united(next);
    }
  }

  CharacterSet union_of(const std::vector<std::uint32_t>& leaves) const {
    std::vector<unicode::CharacterRange> ranges;
    for (const std::uint32_t leaf : leaves) {
      const auto more = expression.sets_[expression.follows_[leaf].set].ranges();
      ranges.insert(ranges.end(), more.begin(), more.end());
    }
    return CharacterSet(std::move(ranges));
  }

  Expression& expression;
};

void Expression::build(const ExpressionNode& tree) {
  Compiler compiler(*this);
  compiler.compile(tree);
  compiler.emit({.operation = Operation::accept});
  const Compiler::Ends ends = compiler.analyse(tree);
  first_ = compiler.union_of(ends.first);
  looks_back_ = node_looks_back(tree);
  looks_ahead_ = node_looks_ahead(tree);
  can_be_empty_ = node_can_be_empty(tree);
}

Expression::Expression(std::string_view pattern) : pattern_(pattern) {
  build(parse_expression(pattern));
}

Expression::Expression(const ExpressionNode& tree, std::string_view name) : pattern_(name) {
  build(tree);
}

Expression Expression::literal(std::string_view text) {
  constexpr std::string_view special = "\\.[]{}()*+?^$|-&#";
  std::string pattern;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return Expression(pattern);
}

bool Expression::may_join(char32_t left, char32_t right) const {
  return std::any_of(follows_.begin(), follows_.end(), [&](const Follow& follow) {
    return follow.next.contains(right) && sets_[follow.set].contains(left);
  });
}

}  // namespace mslt
