// Parsing expressions, with Jinja's precedence of operators.
#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja/builtins.h"

namespace mslt::jinja {
namespace {

constexpr std::array<std::string_view, 6> comparison_symbols = {"==", "!=", "<", "<=", ">", ">="};

std::string shown(const Token& token) {
  switch (token.kind) {
    case TokenKind::data:
      return "text outside of a tag";
    case TokenKind::begin_print:
      return "{{";
    case TokenKind::end_print:
      return "}}";
    case TokenKind::begin_block:
      return "{%";
    case TokenKind::end_block:
      return "%}";
    case TokenKind::end:
      return "the end of the template";
    case TokenKind::text:
      return "a text";
    default:
      return token.spelling;
  }
}

}  // namespace

ExpressionParser::Level::Level(ExpressionParser& parser) : parser_(parser) {
  if (parser.level_ >= parser.most_depth_) {
    refuse_syntax(parser.current().line, "blocks and expressions nest deeper than {} levels", parser.most_depth_);
  }
  ++parser.level_;
}

Token ExpressionParser::take() {
  Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

bool ExpressionParser::skip_symbol(std::string_view symbol) {
  if (!is_symbol(symbol)) return false;
  take();
  return true;
}

void ExpressionParser::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) unexpected(symbol);
}

std::string ExpressionParser::expect_name() {
  if (current().kind != TokenKind::name) unexpected("a name");
  return take().spelling;
}

void ExpressionParser::unexpected(std::string_view expected) const {
  refuse_syntax(current().line, "unexpected '{}', expected {}", shown(current()), expected);
}

void ExpressionParser::measure(Node& parent, const Node& child) const {
  parent.depth = std::max(parent.depth, child.depth + 1);
  if (parent.depth > most_depth_) {
    refuse_syntax(parent.line, "blocks and expressions nest deeper than {} levels", most_depth_);
  }
}

void ExpressionParser::adopt(Node& parent, NodePtr child) const {
  if (child) measure(parent, *child);
  parent.children.push_back(std::move(child));
}

NodePtr ExpressionParser::binary(NodePtr left, const std::string& operation, NodePtr right, int line) const {
  NodePtr node = make(NodeKind::binary, line);
  node->text = operation;
  adopt(*node, std::move(left));
  adopt(*node, std::move(right));
  return node;
}

NodePtr ExpressionParser::parse_expression() {
  const Level level(*this);
  const bool before = in_branch_;
  NodePtr value = parse_or();
  while (is_name("if")) {
    const int line = take().line;
    in_branch_ = true;
    NodePtr node = make(NodeKind::conditional, line);
    adopt(*node, parse_or());
    adopt(*node, std::move(value));
    if (skip_name("else")) adopt(*node, parse_expression());
    in_branch_ = before;
    value = std::move(node);
  }
  return value;
}

NodePtr ExpressionParser::parse_or() {
  NodePtr left = parse_and();
  while (is_name("or")) {
    NodePtr node = make(NodeKind::logical_or, take().line);
    adopt(*node, std::move(left));
    adopt(*node, parse_and());
    left = std::move(node);
  }
  return left;
}

NodePtr ExpressionParser::parse_and() {
  NodePtr left = parse_not();
  while (is_name("and")) {
    NodePtr node = make(NodeKind::logical_and, take().line);
    adopt(*node, std::move(left));
    adopt(*node, parse_not());
    left = std::move(node);
  }
  return left;
}

NodePtr ExpressionParser::parse_not() {
  if (!is_name("not")) return parse_comparison();
  const Level level(*this);
  NodePtr node = make(NodeKind::logical_not, take().line);
  adopt(*node, parse_not());
  return node;
}

NodePtr ExpressionParser::parse_comparison() {
  NodePtr first = parse_sum();
  NodePtr node;
  const auto add = [&](std::string operation) {
    if (!node) {
      node = make(NodeKind::comparison);
      adopt(*node, std::move(first));
    }
    node->operators.push_back(std::move(operation));
    adopt(*node, parse_sum());
  };
  while (true) {
    const bool is_comparison = current().kind == TokenKind::symbol &&
                               std::ranges::find(comparison_symbols, current().spelling) != comparison_symbols.end();
    if (is_comparison) {
      add(take().spelling);
    } else if (skip_name("in")) {
      add("in");
    } else if (is_name("not") && look().is(TokenKind::name, "in")) {
      take();
      take();
      add("not in");
    } else {
      break;
    }
  }
  return node ? std::move(node) : std::move(first);
}

NodePtr ExpressionParser::parse_sum() {
  NodePtr left = parse_concat();
  while (is_symbol("+") || is_symbol("-")) {
    const Token operation = take();
    NodePtr right = parse_concat();
    left = binary(std::move(left), operation.spelling, std::move(right), operation.line);
  }
  return left;
}

NodePtr ExpressionParser::parse_concat() {
  NodePtr first = parse_product();
  if (!is_symbol("~")) return first;
  NodePtr node = make(NodeKind::concat);
  adopt(*node, std::move(first));
  while (skip_symbol("~")) adopt(*node, parse_product());
  return node;
}

NodePtr ExpressionParser::parse_product() {
  NodePtr left = parse_power();
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    const Token operation = take();
    NodePtr right = parse_power();
    left = binary(std::move(left), operation.spelling, std::move(right), operation.line);
  }
  return left;
}

NodePtr ExpressionParser::parse_power() {
  NodePtr left = parse_unary();
  while (is_symbol("**")) {
    const Token operation = take();
    NodePtr right = parse_unary();
    left = binary(std::move(left), operation.spelling, std::move(right), operation.line);
  }
  return left;
}

NodePtr ExpressionParser::parse_unary(bool with_filter) {
  const Level level(*this);
  NodePtr node;
  if (is_symbol("-") || is_symbol("+")) {
    const Token sign = take();
    node = make(sign.spelling == "-" ? NodeKind::negative : NodeKind::positive, sign.line);
    adopt(*node, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filters(std::move(node)) : std::move(node);
}

NodePtr ExpressionParser::parse_primary(bool with_namespace) {
  const auto constant = [&](Value value, int line) {
    NodePtr node = make(NodeKind::constant, line);
    node->value = std::move(value);
    return node;
  };
  const Token token = current();
  if (token.kind == TokenKind::name) {
    take();
    if (token.spelling == "true" || token.spelling == "True") return constant(Value(true), token.line);
    if (token.spelling == "false" || token.spelling == "False") return constant(Value(false), token.line);
    if (token.spelling == "none" || token.spelling == "None") return constant(Value(), token.line);
    if (with_namespace && skip_symbol(".")) {
      NodePtr node = make(NodeKind::namespace_attribute, token.line);
      node->text = token.spelling;
      node->member = expect_name();
      return node;
    }
    NodePtr node = make(NodeKind::name, token.line);
    node->text = token.spelling;
    return node;
  }
  if (token.kind == TokenKind::text) {
    std::string text;
    while (current().kind == TokenKind::text) text += take().spelling;
    return constant(Value(std::move(text)), token.line);
  }
  if (token.kind == TokenKind::number) {
    take();
    return constant(token.number, token.line);
  }
  if (skip_symbol("(")) {
    NodePtr node = parse_tuple(true);
    expect_symbol(")");
    return node;
  }
  if (is_symbol("[")) return parse_list();
  if (is_symbol("{")) return parse_dict();
  unexpected("a value");
}

NodePtr ExpressionParser::parse_tuple(bool in_parentheses, bool until_in, bool targets_only) {
  const int line = current().line;
  std::vector<NodePtr> items;
  bool is_tuple = false;
  const auto is_end = [&] {
    return current().kind == TokenKind::end_print || current().kind == TokenKind::end_block || is_symbol(")") ||
           (until_in && is_name("in"));
  };
  while (true) {
    if (!items.empty()) expect_symbol(",");
    if (is_end()) break;
    items.push_back(targets_only ? parse_primary(!until_in) : parse_expression());
    if (!is_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !in_parentheses) unexpected("an expression");
  NodePtr node = make(NodeKind::tuple, line);
  for (NodePtr& item : items) adopt(*node, std::move(item));
  return node;
}

NodePtr ExpressionParser::parse_list() {
  NodePtr node = make(NodeKind::list);
  expect_symbol("[");
  while (!is_symbol("]")) {
    if (!node->children.empty()) expect_symbol(",");
    if (is_symbol("]")) break;
    adopt(*node, parse_expression());
  }
  expect_symbol("]");
  return node;
}

NodePtr ExpressionParser::parse_dict() {
  NodePtr node = make(NodeKind::dict);
  expect_symbol("{");
  while (!is_symbol("}")) {
    if (!node->children.empty()) expect_symbol(",");
    if (is_symbol("}")) break;
    adopt(*node, parse_expression());
    expect_symbol(":");
    adopt(*node, parse_expression());
  }
  expect_symbol("}");
  return node;
}

NodePtr ExpressionParser::parse_postfix(NodePtr node) {
  while (true) {
    if (is_symbol(".") || is_symbol("[")) {
      node = parse_subscript(std::move(node));
    } else if (is_symbol("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

NodePtr ExpressionParser::parse_filters(NodePtr node) {
  while (true) {
    if (skip_symbol("|")) {
      node = parse_filter(std::move(node));
    } else if (is_name("is")) {
      node = parse_test(std::move(node));
    } else if (is_symbol("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

NodePtr ExpressionParser::parse_subscript(NodePtr node) {
  const Token open = take();
  if (open.spelling == ".") {
    const Token member = take();
    if (member.kind == TokenKind::name) {
      NodePtr attribute = make(NodeKind::attribute, open.line);
      attribute->text = member.spelling;
      adopt(*attribute, std::move(node));
      return attribute;
    }
    if (member.kind != TokenKind::number || member.number.as<std::int64_t>() == nullptr) {
      refuse_syntax(member.line, "expected a name or a number behind the dot");
    }
    NodePtr key = make(NodeKind::constant, member.line);
    key->value = member.number;
    NodePtr item = make(NodeKind::item, open.line);
    adopt(*item, std::move(node));
    adopt(*item, std::move(key));
    return item;
  }
  std::vector<NodePtr> keys;
  while (!is_symbol("]")) {
    if (!keys.empty()) expect_symbol(",");
    keys.push_back(parse_subscribed());
  }
  expect_symbol("]");
  NodePtr item = make(NodeKind::item, open.line);
  adopt(*item, std::move(node));
  if (keys.size() == 1) {
    adopt(*item, std::move(keys.front()));
    return item;
  }
  NodePtr tuple = make(NodeKind::tuple, open.line);
  for (NodePtr& key : keys) adopt(*tuple, std::move(key));
  adopt(*item, std::move(tuple));
  return item;
}

NodePtr ExpressionParser::parse_subscribed() {
  NodePtr first;
  const int line = current().line;
  if (!is_symbol(":")) {
    first = parse_expression();
    if (!is_symbol(":")) return first;
  }
  take();
  NodePtr node = make(NodeKind::slice, line);
  adopt(*node, std::move(first));
  const auto part = [&]() -> NodePtr {
    if (is_symbol(":") || is_symbol("]") || is_symbol(",")) return nullptr;
    return parse_expression();
  };
  adopt(*node, part());
  adopt(*node, skip_symbol(":") ? part() : nullptr);
  return node;
}

void ExpressionParser::parse_call_arguments(Node& node) {
  const int line = current().line;
  const auto require = [&](bool is_valid) {
    if (!is_valid) refuse_syntax(line, "the arguments of a call are in a wrong order");
  };
  expect_symbol("(");
  bool is_first = true;
  while (!is_symbol(")")) {
    if (!std::exchange(is_first, false)) {
      expect_symbol(",");
      if (is_symbol(")")) break;
    }
    if (skip_symbol("*")) {
      require(!node.star && !node.double_star);
      node.star = parse_expression();
      measure(node, *node.star);
    } else if (skip_symbol("**")) {
      require(!node.double_star);
      node.double_star = parse_expression();
      measure(node, *node.double_star);
    } else if (current().kind == TokenKind::name && look().is(TokenKind::symbol, "=")) {
      require(!node.double_star);
      std::string name = take().spelling;
      take();
      for (const auto& [other, value] : node.named) {
        if (other == name) refuse_syntax(line, "the argument '{}' is given twice", name);
      }
      node.named.emplace_back(std::move(name), parse_expression());
      measure(node, *node.named.back().second);
    } else {
      require(!node.star && !node.double_star && node.named.empty());
      node.positional.push_back(parse_expression());
      measure(node, *node.positional.back());
    }
  }
  expect_symbol(")");
}

NodePtr ExpressionParser::parse_call(NodePtr node) {
  NodePtr call = make(NodeKind::call);
  adopt(*call, std::move(node));
  parse_call_arguments(*call);
  return call;
}

NodePtr ExpressionParser::parse_filter(NodePtr node) {
  NodePtr filter = make(NodeKind::filter);
  filter->text = expect_name();
  while (skip_symbol(".")) filter->text += "." + expect_name();
  if (!in_branch_ && !has_filter(filter->text)) {
    refuse_syntax(filter->line, "there is no filter named '{}'", filter->text);
  }
  adopt(*filter, std::move(node));
  if (is_symbol("(")) parse_call_arguments(*filter);
  return filter;
}

NodePtr ExpressionParser::parse_block_filter() {
  NodePtr node = parse_filter(nullptr);
  while (skip_symbol("|")) node = parse_filter(std::move(node));
  return node;
}

NodePtr ExpressionParser::parse_test(NodePtr node) {
  const int line = take().line;
  const bool is_negated = skip_name("not");
  NodePtr test = make(NodeKind::test, line);
  test->text = expect_name();
  while (skip_symbol(".")) test->text += "." + expect_name();
  if (!in_branch_ && !has_test(test->text)) refuse_syntax(line, "there is no test named '{}'", test->text);
  adopt(*test, std::move(node));
  const bool begins_value = current().kind == TokenKind::name || current().kind == TokenKind::text ||
                            current().kind == TokenKind::number || is_symbol("[") || is_symbol("{");
  if (is_symbol("(")) {
    parse_call_arguments(*test);
  } else if (begins_value && !is_name("else") && !is_name("or") && !is_name("and")) {
    if (is_name("is")) refuse_syntax(line, "tests cannot follow each other; use 'and'");
    test->positional.push_back(parse_postfix(parse_primary()));
    measure(*test, *test->positional.back());
  }
  if (!is_negated) return test;
  NodePtr negation = make(NodeKind::logical_not, line);
  adopt(*negation, std::move(test));
  return negation;
}

NodePtr ExpressionParser::parse_target(bool until_in, bool with_namespace) {
  NodePtr target = parse_tuple(false, until_in, true);
  require_assignable(*target, with_namespace);
  return target;
}

void ExpressionParser::require_assignable(Node& node, bool with_namespace) const {
  if (node.kind == NodeKind::tuple) {
    for (const NodePtr& child : node.children) require_assignable(*child, with_namespace);
    return;
  }
  const bool is_namespace = with_namespace && node.kind == NodeKind::namespace_attribute;
  if (node.kind != NodeKind::name && !is_namespace) refuse_syntax(node.line, "only names can be assigned to");
}

}  // namespace mslt::jinja
