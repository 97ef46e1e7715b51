// Running statements.
#include "text/jinja/interpreter.h"

#include <algorithm>
#include <iterator>

#include "text/jinja/builtins.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

// The variable `loop` of one loop.
class Loop : public Object, public std::enable_shared_from_this<Loop> {
 public:
  Loop(std::vector<Value> items, std::size_t depth0, std::size_t value_depth)
      : items_(std::move(items)), depth0_(depth0), value_depth_(value_depth) {}

  std::string type_name() const override { return "LoopContext"; }
  std::size_t depth() const override { return value_depth_; }
  std::optional<std::size_t> length() const override { return items_.size(); }
  const std::vector<Value>& items() const { return items_; }
  void start_round(std::size_t index) { index_ = index; }
  void make_recursive(Function::Body body) { recurse_ = std::move(body); }
  bool is_callable() const override { return static_cast<bool>(recurse_); }

  Value call(Interpreter& interpreter, const Arguments& arguments) override {
    if (!recurse_) refuse("The loop must have the 'recursive' marker to be called recursively.");
    return recurse_(interpreter, arguments);
  }

  std::optional<Value> attribute(std::string_view name) override {
    const std::size_t count = items_.size();
    if (name == "index") return Value::size(index_ + 1);
    if (name == "index0") return Value::size(index_);
    if (name == "revindex") return Value::size(count - index_);
    if (name == "revindex0") return Value::size(count - index_ - 1);
    if (name == "first") return Value(index_ == 0);
    if (name == "last") return Value(index_ + 1 == count);
    if (name == "length") return Value::size(count);
    if (name == "depth") return Value::size(depth0_ + 1);
    if (name == "depth0") return Value::size(depth0_);
    if (name == "previtem") return index_ > 0 ? items_[index_ - 1] : Value::undefined("there is no previous item");
    if (name == "nextitem") return index_ + 1 < count ? items_[index_ + 1] : Value::undefined("there is no next item");
    if (name == "cycle") return make_cycle();
    if (name == "changed") return make_changed();
    return std::nullopt;
  }

 private:
  Value make_cycle() const {
    return Value(std::make_shared<Function>("cycle", [index = index_](Interpreter&, const Arguments& arguments) {
      if (arguments.positional.empty()) refuse("no items for cycling given");
      return arguments.positional[index % arguments.positional.size()];
    }));
  }

  Value make_changed() {
    // Without owning the loop, which may come to own the function.
    const auto changed = [weak = weak_from_this()](Interpreter& interpreter, const Arguments& arguments) {
      const std::shared_ptr<Loop> loop = weak.lock();
      if (!loop) refuse("loop.changed is called after the loop");
      const Value now = interpreter.tuple(arguments.positional);
      const bool has_changed = !loop->last_changed_ || !are_equal(*loop->last_changed_, now, interpreter.budget());
      loop->last_changed_ = now;
      return Value(has_changed);
    };
    return Value(std::make_shared<Function>("changed", changed));
  }

  std::vector<Value> items_;
  std::size_t index_ = 0;
  std::size_t depth0_;
  std::size_t value_depth_;
  Function::Body recurse_;
  std::optional<Value> last_changed_;
};

// {% macro %}, or the body of {% call %}.
class Macro : public Object {
 public:
  Macro(const Node& node, ScopePtr scope, std::string name)
      : node_(node), scope_(std::move(scope)), name_(std::move(name)) {}
  std::string type_name() const override { return "Macro"; }
  bool is_callable() const override { return true; }
  Value call(Interpreter& interpreter, const Arguments& arguments) override {
    return interpreter.run_macro(node_, scope_, arguments, name_);
  }
  std::optional<Value> attribute(std::string_view name) override {
    if (name == "name") return Value(name_);
    if (name == "arguments") return parameters();
    if (name == "caller") return Value(node_.uses_caller);
    if (name == "catch_kwargs") return Value(node_.uses_kwargs);
    if (name == "catch_varargs") return Value(node_.uses_varargs);
    return std::nullopt;
  }

 private:
  Value parameters() const {
    std::vector<Value> names;
    for (const Parameter& parameter : node_.parameters) names.emplace_back(parameter.name);
    return Value::tuple(std::move(names), Budget(ChatLimits{}));
  }

  const Node& node_;
  ScopePtr scope_;
  std::string name_;
};

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
    const auto found = std::ranges::find(scope->names_, name, &std::pair<std::string, Value>::first);
    if (found != scope->names_.end()) return &found->second;
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  const auto found = std::ranges::find(names_, name, &std::pair<std::string, Value>::first);
  if (found != names_.end()) {
    found->second = std::move(value);
  } else {
    names_.emplace_back(name, std::move(value));
  }
}

Interpreter::~Interpreter() {
  // The lists keep every scope and namespace alive meanwhile, so that releasing one releases no chain of others.
  for (const auto& space : namespaces_) space->clear();
  for (const ScopePtr& scope : captured_) scope->names_.clear();
}

std::string Interpreter::render(const Node& root, std::vector<std::pair<std::string, Value>> variables) {
  const auto outer = std::make_shared<Scope>(nullptr);
  for (auto& [name, value] : variables) outer->set(name, std::move(value));
  root_ = std::make_shared<Scope>(outer);
  keep(root_);
  execute(root, root_);
  return std::move(output_);
}

std::shared_ptr<Namespace> Interpreter::make_namespace() {
  return namespaces_.emplace_back(std::make_shared<Namespace>());
}

void Interpreter::keep(const ScopePtr& scope) {
  if (std::exchange(scope->is_captured_, true)) return;
  captured_.push_back(scope);
  if (scope->parent_) keep(scope->parent_);
}

Value Interpreter::make_macro(const Node& node, const ScopePtr& scope, std::string name) {
  keep(scope);
  return Value(std::make_shared<Macro>(node, scope, std::move(name)));
}

void Interpreter::write(std::string_view text) {
  if (text.size() > budget_.limits().output_bytes - std::min(budget_.limits().output_bytes, output_.size())) {
    refuse("the text becomes longer than the {} bytes allowed", budget_.limits().output_bytes);
  }
  output_ += text;
}

std::string Interpreter::capture(const Node& body, const ScopePtr& scope) {
  std::string before = std::exchange(output_, {});
  execute(body, scope);
  std::string text = std::exchange(output_, std::move(before));
  budget_.spend_on_text(text.size());
  return text;
}

Interpreter::Flow Interpreter::execute(const Node& node, const ScopePtr& scope) {
  const Budget::Level level(budget_);
  budget_.spend(1);
  line_ = node.line;
  switch (node.kind) {
    case NodeKind::block:
      return execute_block(node, scope);
    case NodeKind::data:
      write(node.text);
      return Flow::next;
    case NodeKind::output:
      write(text_of_value(evaluate(*node.children[0], scope)));
      return Flow::next;
    case NodeKind::branch:
      return execute_branch(node, scope);
    case NodeKind::loop:
      return execute_loop(node, scope, evaluate(*node.children[1], scope), 0);
    case NodeKind::set:
    case NodeKind::set_block:
      execute_set(node, scope);
      return Flow::next;
    case NodeKind::macro:
      scope->set(node.text, make_macro(node, scope, node.text));
      return Flow::next;
    case NodeKind::call_block:
      execute_call_block(node, scope);
      return Flow::next;
    case NodeKind::filter_block:
      write(text_of_value(evaluate_block_filter(
          *node.children[0], Value(capture(*node.children[1], std::make_shared<Scope>(scope))), scope)));
      return Flow::next;
    case NodeKind::with_block:
      return execute_with(node, scope);
    case NodeKind::scoped:
      return execute(*node.children[0], std::make_shared<Scope>(scope));
    case NodeKind::leave_loop:
      return Flow::leave;
    case NodeKind::next_round:
      return Flow::again;
    default:
      refuse("a statement is no statement");
  }
}

Interpreter::Flow Interpreter::execute_block(const Node& node, const ScopePtr& scope) {
  for (const NodePtr& statement : node.children) {
    const Flow flow = execute(*statement, scope);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Interpreter::Flow Interpreter::execute_branch(const Node& node, const ScopePtr& scope) {
  std::size_t i = 0;
  for (; i + 1 < node.children.size(); i += 2) {
    if (evaluate(*node.children[i], scope).is_true()) return execute(*node.children[i + 1], scope);
  }
  return i < node.children.size() ? execute(*node.children[i], scope) : Flow::next;
}

Interpreter::Flow Interpreter::execute_loop(const Node& node, const ScopePtr& scope, const Value& iterable,
                                            std::size_t depth) {
  const Node& target = *node.children[0];
  std::vector<Value> items = elements_of(iterable, budget_);
  if (node.children[2]) {
    std::vector<Value> chosen;
    for (Value& item : items) {
      const auto inner = std::make_shared<Scope>(scope);
      assign(target, item, inner);
      if (evaluate(*node.children[2], inner).is_true()) chosen.push_back(std::move(item));
    }
    items = std::move(chosen);
  }
  if (items.empty()) {
    return node.children[4] ? execute(*node.children[4], std::make_shared<Scope>(scope)) : Flow::next;
  }
  std::size_t value_depth = 1;
  for (const Value& item : items) value_depth = std::max(value_depth, item.depth() + 1);
  const auto loop = std::make_shared<Loop>(std::move(items), depth, value_depth);
  if (node.is_recursive) {
    keep(scope);
    loop->make_recursive([&node, scope, depth](Interpreter& interpreter, const Arguments& arguments) {
      const Bound bound("loop", arguments, {"iterable"}, 1);
      return Value(interpreter.run_loop(node, scope, bound[0], depth + 1));
    });
  }
  bool was_left = false;
  bool has_finished_round = false;
  for (std::size_t i = 0; i < loop->items().size() && !was_left; ++i) {
    const auto inner = std::make_shared<Scope>(scope);
    loop->start_round(i);
    inner->set("loop", Value(std::shared_ptr<Object>(loop)));
    assign(target, loop->items()[i], inner);
    const Flow flow = execute(*node.children[3], inner);
    was_left = flow == Flow::leave;
    has_finished_round = has_finished_round || flow == Flow::next;
  }
  // As in Jinja, whose compiled loop learns at the end of a round that it had one.
  if (!has_finished_round && node.children[4]) return execute(*node.children[4], std::make_shared<Scope>(scope));
  return Flow::next;
}

std::string Interpreter::run_loop(const Node& loop, const ScopePtr& scope, const Value& iterable, std::size_t depth) {
  const Budget::Level level(budget_);
  std::string before = std::exchange(output_, {});
  execute_loop(loop, scope, iterable, depth);
  return std::exchange(output_, std::move(before));
}

void Interpreter::assign(const Node& target, Value value, const ScopePtr& scope) {
  if (target.kind == NodeKind::name) {
    scope->set(target.text, std::move(value));
    return;
  }
  if (target.kind == NodeKind::namespace_attribute) {
    const Value* found = scope->find(target.text);
    auto* space = found != nullptr ? dynamic_cast<Namespace*>(found->object()) : nullptr;
    if (space == nullptr) refuse("cannot assign attribute on non-namespace object");
    space->set(target.member, std::move(value));
    return;
  }
  const Budget::Level level(budget_);
  std::vector<Value> items = elements_of(value.require_defined(), budget_);
  if (items.size() != target.children.size()) {
    refuse("{} values to unpack (expected {}, got {})",
           items.size() < target.children.size() ? "not enough" : "too many", target.children.size(), items.size());
  }
  for (std::size_t i = 0; i < items.size(); ++i) assign(*target.children[i], std::move(items[i]), scope);
}

void Interpreter::execute_set(const Node& node, const ScopePtr& scope) {
  if (node.kind == NodeKind::set) {
    assign(*node.children[0], evaluate(*node.children[1], scope), scope);
    return;
  }
  Value text(capture(*node.children[2], std::make_shared<Scope>(scope)));
  if (node.children[1]) text = evaluate_block_filter(*node.children[1], std::move(text), scope);
  assign(*node.children[0], std::move(text), scope);
}

Interpreter::Flow Interpreter::execute_with(const Node& node, const ScopePtr& scope) {
  const auto inner = std::make_shared<Scope>(scope);
  std::size_t i = 0;
  for (; i + 1 < node.children.size(); i += 2) {
    assign(*node.children[i], evaluate(*node.children[i + 1], scope), inner);
  }
  return execute(*node.children[i], inner);
}

void Interpreter::execute_call_block(const Node& node, const ScopePtr& scope) {
  const Node& call_node = *node.children[0];
  const Value function = evaluate(*call_node.children[0], scope);
  Arguments arguments = evaluate_arguments(call_node, scope);
  arguments.named.emplace_back("caller", make_macro(node, scope, "caller"));
  write(text_of_value(call(function, arguments)));
}

Value Interpreter::run_macro(const Node& macro, const ScopePtr& outer, const Arguments& arguments,
                             std::string_view name) {
  const Budget::Level level(budget_);
  const auto scope = std::make_shared<Scope>(outer);
  const std::vector<Parameter>& parameters = macro.parameters;
  const std::size_t given = std::min(arguments.positional.size(), parameters.size());
  for (std::size_t i = 0; i < given; ++i) scope->set(parameters[i].name, arguments.positional[i]);
  auto named = arguments.named;
  const auto take = [&](std::string_view wanted) -> std::optional<Value> {
    const auto found = std::ranges::find(named, wanted, &std::pair<std::string, Value>::first);
    if (found == named.end()) return std::nullopt;
    Value value = std::move(found->second);
    named.erase(found);
    return value;
  };
  bool has_own_caller = false;
  std::vector<const Parameter*> missing;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    has_own_caller = has_own_caller || parameters[i].name == "caller";
    if (i < given) continue;
    if (auto value = take(parameters[i].name)) {
      scope->set(parameters[i].name, std::move(*value));
    } else {
      missing.push_back(&parameters[i]);
    }
  }
  if (macro.uses_caller && !has_own_caller) {
    scope->set("caller", take("caller").value_or(Value::undefined("No caller defined")));
  }
  if (macro.uses_kwargs) {
    Dict rest;
    for (auto& [key, value] : named) rest.set(Value(key), std::move(value), budget_);
    scope->set("kwargs", Value(std::make_shared<const Dict>(std::move(rest))));
  } else if (!named.empty()) {
    refuse("macro '{}' takes no keyword argument '{}'", name, named.front().first);
  }
  if (macro.uses_varargs) {
    const auto rest = arguments.positional.begin() + static_cast<std::ptrdiff_t>(given);
    scope->set("varargs", tuple({rest, arguments.positional.end()}));
  } else if (arguments.positional.size() > parameters.size()) {
    refuse("macro '{}' takes not more than {} argument(s)", name, parameters.size());
  }
  for (const Parameter* parameter : missing) {
    scope->set(parameter->name,
               parameter->fallback ? evaluate(*parameter->fallback, scope)
                                   : Value::undefined(fmt::format("parameter '{}' was not provided", parameter->name)));
  }
  const int line = line_;
  Value text(capture(*macro.children.back(), scope));
  line_ = line;
  return text;
}

}  // namespace mslt::jinja
