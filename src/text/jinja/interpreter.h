// Interpreter: runs the tree of a template.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/budget.h"
#include "text/jinja/node.h"
#include "text/jinja/value.h"

namespace mslt::jinja {

// What raise_exception says, for the caller of the template.
class Raised : public Failure {
 public:
  using Failure::Failure;
};

// The names that a part of the template sets, inside of those around it.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);

 private:
  friend class Interpreter;
  std::shared_ptr<Scope> parent_;
  std::vector<std::pair<std::string, Value>> names_;
  bool is_captured_ = false;
};
using ScopePtr = std::shared_ptr<Scope>;

// One rendering. One thread at a time.
class Interpreter {
 public:
  // The tree must outlive the interpreter and every value that it makes.
  Interpreter(const ChatLimits& limits, std::time_t now) : budget_(limits), now_(now) {}
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  // Releases what macros and namespaces hold, which may refer to themselves.
  ~Interpreter();

  // The text of a template with these variables. Throws Failure; line() then says where.
  std::string render(const Node& root, std::vector<std::pair<std::string, Value>> variables);
  int line() const { return line_; }

  // For filters, tests and functions.
  Budget& budget() { return budget_; }
  std::time_t now() const { return now_; }
  Value call(const Value& function, const Arguments& arguments);
  Value attribute_of(const Value& value, const std::string& name);
  Value item_of(const Value& value, const Value& key);
  Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments);
  bool apply_test(std::string_view name, const Value& value, const Arguments& arguments);
  Value list(std::vector<Value> items) { return Value::list(std::move(items), budget_); }
  Value tuple(std::vector<Value> items) { return Value::tuple(std::move(items), budget_); }
  std::string text(const Value& value) { return text_of_value(value); }
  // A namespace that lives until the end of the rendering.
  std::shared_ptr<Namespace> make_namespace();

  // For macros and loops.
  Value run_macro(const Node& macro, const ScopePtr& outer, const Arguments& arguments, std::string_view name);
  std::string run_loop(const Node& loop, const ScopePtr& scope, const Value& iterable, std::size_t depth);

 private:
  enum class Flow { next, leave, again };

  std::string text_of_value(const Value& value);
  Value evaluate(const Node& node, const ScopePtr& scope);
  Value evaluate_name(const Node& node, const ScopePtr& scope);
  Value evaluate_container(const Node& node, const ScopePtr& scope);
  Value evaluate_logic(const Node& node, const ScopePtr& scope);
  Value evaluate_comparison(const Node& node, const ScopePtr& scope);
  Value evaluate_arithmetic(const Node& node, const ScopePtr& scope);
  Value evaluate_concat(const Node& node, const ScopePtr& scope);
  Value evaluate_item(const Node& node, const ScopePtr& scope);
  Value evaluate_call(const Node& node, const ScopePtr& scope);
  Value evaluate_filter(const Node& node, const Value& value, const ScopePtr& scope);
  Value evaluate_test(const Node& node, const ScopePtr& scope);
  Value evaluate_block_filter(const Node& node, Value value, const ScopePtr& scope);
  Arguments evaluate_arguments(const Node& node, const ScopePtr& scope);

  Flow execute(const Node& node, const ScopePtr& scope);
  Flow execute_block(const Node& node, const ScopePtr& scope);
  Flow execute_branch(const Node& node, const ScopePtr& scope);
  Flow execute_loop(const Node& node, const ScopePtr& scope, const Value& iterable, std::size_t depth);
  void execute_set(const Node& node, const ScopePtr& scope);
  Flow execute_with(const Node& node, const ScopePtr& scope);
  void execute_call_block(const Node& node, const ScopePtr& scope);
  void assign(const Node& target, Value value, const ScopePtr& scope);
  // What the body writes.
  std::string capture(const Node& body, const ScopePtr& scope);
  void write(std::string_view text);
  Value make_macro(const Node& node, const ScopePtr& scope, std::string name);
  void keep(const ScopePtr& scope);

  Budget budget_;
  std::time_t now_;
  int line_ = 1;
  std::string output_;
  ScopePtr root_;
  std::vector<ScopePtr> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace mslt::jinja
