// The grammar of expressions, which the parser of statements builds on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/node.h"

namespace mslt::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, std::size_t depth) : tokens_(std::move(tokens)), most_depth_(depth) {}
  ExpressionParser(const ExpressionParser&) = delete;
  ExpressionParser& operator=(const ExpressionParser&) = delete;

 protected:
  ~ExpressionParser() = default;

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take();
  bool is_name(std::string_view name) const { return current().is(TokenKind::name, name); }
  bool is_symbol(std::string_view symbol) const { return current().is(TokenKind::symbol, symbol); }
  bool skip_name(std::string_view name);
  bool skip_symbol(std::string_view symbol);
  void expect_symbol(std::string_view symbol);
  std::string expect_name();
  [[noreturn]] void unexpected(std::string_view expected) const;

  NodePtr make(NodeKind kind) const { return std::make_unique<Node>(kind, current().line); }
  NodePtr make(NodeKind kind, int line) const { return std::make_unique<Node>(kind, line); }
  // Adds a child and measures the depth; throws SyntaxFailure beyond the limit.
  void adopt(Node& parent, NodePtr child) const;
  void measure(Node& parent, const Node& child) const;

  NodePtr parse_expression();
  NodePtr parse_or();
  // An expression, or several with commas between them. `until_in`: it ends before `in`. `targets_only`: names,
  // literals and namespace attributes.
  NodePtr parse_tuple(bool in_parentheses, bool until_in = false, bool targets_only = false);
  NodePtr parse_primary(bool with_namespace = false);
  NodePtr parse_unary(bool with_filter = true);
  NodePtr parse_postfix(NodePtr node);
  NodePtr parse_filters(NodePtr node);
  // The filters of a block: a name without a bar first.
  NodePtr parse_block_filter();
  NodePtr parse_target(bool until_in, bool with_namespace);
  void parse_call_arguments(Node& node);

  // In a branch, a filter or test that does not exist is an error only where it is reached.
  bool in_branch_ = false;

  // One level of recursion while it lives.
  class Level {
   public:
    explicit Level(ExpressionParser& parser);
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --parser_.level_; }

   private:
    ExpressionParser& parser_;
  };

 private:
  NodePtr parse_and();
  NodePtr parse_not();
  NodePtr parse_comparison();
  NodePtr parse_sum();
  NodePtr parse_concat();
  NodePtr parse_product();
  NodePtr parse_power();
  NodePtr parse_list();
  NodePtr parse_dict();
  NodePtr parse_subscript(NodePtr node);
  NodePtr parse_subscribed();
  NodePtr parse_call(NodePtr node);
  NodePtr parse_filter(NodePtr node);
  NodePtr parse_test(NodePtr node);
  NodePtr binary(NodePtr left, const std::string& operation, NodePtr right, int line) const;
  void require_assignable(Node& node, bool with_namespace) const;

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t level_ = 0;
  std::size_t most_depth_;
};

}  // namespace mslt::jinja
