// Parsing statements.
#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "text/jinja/expression_parser.h"

namespace mslt::jinja {
namespace {

using Words = std::initializer_list<std::string_view>;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  NodePtr run() {
    NodePtr node = parse_statements({});
    if (current().kind != TokenKind::end) unexpected("the end of the template");
    return node;
  }

 private:
  void end_block() {
    if (current().kind != TokenKind::end_block) unexpected("%}");
    take();
  }

  // Statements up to a block that begins with one of `ends`, whose name is then the current token.
  NodePtr parse_statements(Words ends) {
    const Level level(*this);
    NodePtr block = make(NodeKind::block);
    while (current().kind != TokenKind::end) {
      if (current().kind == TokenKind::data) {
        NodePtr data = make(NodeKind::data);
        data->text = take().spelling;
        adopt(*block, std::move(data));
      } else if (current().kind == TokenKind::begin_print) {
        NodePtr output = make(NodeKind::output, take().line);
        adopt(*output, parse_tuple(false));
        if (current().kind != TokenKind::end_print) unexpected("}}");
        take();
        adopt(*block, std::move(output));
      } else {
        take();
        const bool is_end =
            current().kind == TokenKind::name && std::ranges::find(ends, current().spelling) != ends.end();
        if (is_end) return block;
        adopt(*block, parse_statement());
        end_block();
      }
    }
    if (ends.size() > 0) unexpected(*(ends.end() - 1));
    return block;
  }

  // Behind the name of a block: its body, up to `ends`.
  NodePtr parse_body(Words ends) {
    end_block();
    return parse_statements(ends);
  }
  // A body in a frame of its own, to the block `end` and with it.
  NodePtr parse_framed(std::string_view end) {
    const bool before = std::exchange(in_branch_, false);
    NodePtr body = parse_body({end});
    take();
    in_branch_ = before;
    return body;
  }

  NodePtr parse_statement() {
    const int line = current().line;
    const std::string name = expect_name();
    if (name == "if") return parse_if(line);
    if (name == "for") return parse_for(line);
    if (name == "set") return parse_set(line);
    if (name == "macro") return parse_macro(line);
    if (name == "call") return parse_call_block(line);
    if (name == "filter") return parse_filter_block(line);
    if (name == "with") return parse_with(line);
    if (name == "print") return parse_print(line);
    if (name == "generation") return scoped(parse_framed("endgeneration"), line);
    if (name == "autoescape") return parse_autoescape(line);
    if (name == "break" || name == "continue") {
      if (loops_ == 0) refuse_syntax(line, "'{}' is outside of a loop", name);
      return make(name == "break" ? NodeKind::leave_loop : NodeKind::next_round, line);
    }
    for (const std::string_view other : {"block", "extends", "include", "import", "from"}) {
      if (name == other) refuse_syntax(line, "'{}' is not supported: chat templates stand alone", name);
    }
    refuse_syntax(line, "there is no tag '{}'", name);
  }

  NodePtr scoped(NodePtr body, int line) const {
    NodePtr node = make(NodeKind::scoped, line);
    adopt(*node, std::move(body));
    return node;
  }

  NodePtr parse_if(int line) {
    NodePtr node = make(NodeKind::branch, line);
    const bool before = std::exchange(in_branch_, true);
    while (true) {
      adopt(*node, parse_or_tuple());
      adopt(*node, parse_body({"elif", "else", "endif"}));
      if (skip_name("elif")) continue;
      if (skip_name("else")) {
        adopt(*node, parse_body({"endif"}));
      }
      take();
      in_branch_ = before;
      return node;
    }
  }

  // A condition: a tuple without a conditional expression.
  NodePtr parse_or_tuple() {
    NodePtr first = parse_or();
    if (!is_symbol(",")) return first;
    NodePtr tuple = make(NodeKind::tuple);
    adopt(*tuple, std::move(first));
    while (skip_symbol(",")) {
      if (current().kind == TokenKind::end_block) break;
      adopt(*tuple, parse_or());
    }
    return tuple;
  }

  NodePtr parse_for(int line) {
    NodePtr node = make(NodeKind::loop, line);
    NodePtr target = parse_target(true, false);
    if (uses_loop(*target)) refuse_syntax(line, "the name 'loop' belongs to the loop itself");
    adopt(*node, std::move(target));
    if (!skip_name("in")) unexpected("in");
    NodePtr iterable = parse_iterable();
    adopt(*node, std::move(iterable));
    const bool before = std::exchange(in_branch_, false);
    adopt(*node, skip_name("if") ? parse_expression() : nullptr);
    node->is_recursive = skip_name("recursive");
    ++loops_;
    adopt(*node, parse_body({"endfor", "else"}));
    --loops_;
    adopt(*node, skip_name("else") ? parse_body({"endfor"}) : nullptr);
    take();
    in_branch_ = before;
    return node;
  }

  static bool uses_loop(const Node& target) {
    if (target.kind == NodeKind::name) return target.text == "loop";
    return std::ranges::any_of(target.children, [](const NodePtr& child) { return uses_loop(*child); });
  }

  // Without a conditional expression, since `if` begins the loop's condition.
  NodePtr parse_iterable() {
    NodePtr first = parse_or();
    if (!is_symbol(",")) return first;
    NodePtr tuple = make(NodeKind::tuple);
    adopt(*tuple, std::move(first));
    while (skip_symbol(",")) {
      if (current().kind == TokenKind::end_block || is_name("recursive") || is_name("if")) break;
      adopt(*tuple, parse_or());
    }
    return tuple;
  }

  NodePtr parse_set(int line) {
    NodePtr target = parse_target(false, true);
    if (skip_symbol("=")) {
      NodePtr node = make(NodeKind::set, line);
      adopt(*node, std::move(target));
      adopt(*node, parse_tuple(false));
      return node;
    }
    NodePtr node = make(NodeKind::set_block, line);
    adopt(*node, std::move(target));
    adopt(*node, skip_symbol("|") ? parse_block_filter() : nullptr);
    adopt(*node, parse_framed("endset"));
    return node;
  }

  void parse_signature(Node& node) {
    expect_symbol("(");
    while (!is_symbol(")")) {
      if (!node.parameters.empty()) {
        expect_symbol(",");
        if (is_symbol(")")) break;
      }
      Parameter parameter{expect_name(), nullptr};
      if (skip_symbol("=")) {
        parameter.fallback = parse_expression();
        measure(node, *parameter.fallback);
      } else if (!node.parameters.empty() && node.parameters.back().fallback) {
        refuse_syntax(node.line, "a parameter without a default value follows one with");
      }
      for (const Parameter& other : node.parameters) {
        if (other.name == parameter.name) refuse_syntax(node.line, "the parameter '{}' occurs twice", other.name);
      }
      node.parameters.push_back(std::move(parameter));
    }
    expect_symbol(")");
  }

  // The body of a macro or a caller, with the special names that it uses.
  void parse_macro_body(Node& node, std::string_view end) {
    const std::size_t loops = std::exchange(loops_, 0);
    NodePtr body = parse_framed(end);
    loops_ = loops;
    node.uses_caller = uses(*body, "caller");
    node.uses_varargs = uses(*body, "varargs");
    node.uses_kwargs = uses(*body, "kwargs");
    adopt(node, std::move(body));
  }

  static bool uses(const Node& node, std::string_view name) {
    if (node.kind == NodeKind::name && node.text == name) return true;
    const auto in = [&](const NodePtr& child) {
      return child && uses(*child, name);
    };
    return std::ranges::any_of(node.children, in) || std::ranges::any_of(node.positional, in) ||
           std::ranges::any_of(node.named, [&](const auto& argument) { return in(argument.second); }) ||
           in(node.star) || in(node.double_star) ||
           std::ranges::any_of(node.parameters, [&](const Parameter& parameter) { return in(parameter.fallback); });
  }

  NodePtr parse_macro(int line) {
    NodePtr node = make(NodeKind::macro, line);
    node->text = expect_name();
    parse_signature(*node);
    parse_macro_body(*node, "endmacro");
    return node;
  }

  NodePtr parse_call_block(int line) {
    NodePtr node = make(NodeKind::call_block, line);
    if (is_symbol("(")) parse_signature(*node);
    NodePtr call = parse_expression();
    if (call->kind != NodeKind::call) refuse_syntax(line, "a call block needs a call");
    adopt(*node, std::move(call));
    parse_macro_body(*node, "endcall");
    return node;
  }

  NodePtr parse_filter_block(int line) {
    NodePtr node = make(NodeKind::filter_block, line);
    adopt(*node, parse_block_filter());
    adopt(*node, parse_framed("endfilter"));
    return node;
  }

  NodePtr parse_with(int line) {
    NodePtr node = make(NodeKind::with_block, line);
    while (current().kind != TokenKind::end_block) {
      if (!node->children.empty()) expect_symbol(",");
      NodePtr target = parse_target(false, false);
      adopt(*node, std::move(target));
      expect_symbol("=");
      adopt(*node, parse_expression());
    }
    adopt(*node, parse_framed("endwith"));
    return node;
  }

  NodePtr parse_print(int line) {
    NodePtr block = make(NodeKind::block, line);
    while (current().kind != TokenKind::end_block) {
      if (!block->children.empty()) expect_symbol(",");
      NodePtr output = make(NodeKind::output, line);
      adopt(*output, parse_expression());
      adopt(*block, std::move(output));
    }
    return block;
  }

  NodePtr parse_autoescape(int line) {
    const NodePtr choice = parse_expression();
    if (choice->kind != NodeKind::constant || choice->value.is_true()) {
      refuse_syntax(line, "escaping for HTML is not supported; only {{% autoescape false %}} is");
    }
    return scoped(parse_framed("endautoescape"), line);
  }

  std::size_t loops_ = 0;  // around the current statement
};

}  // namespace

NodePtr parse(std::string_view source, std::size_t depth) {
  return Parser(tokenize(source), depth).run();
}

}  // namespace mslt::jinja
