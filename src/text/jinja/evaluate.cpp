// Evaluating expressions.
#include <algorithm>
#include <iterator>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

// How Jinja names a value in messages about its members.
std::string shown_type(const Value& value) {
  return value.is_none() ? "None" : value.type_name() + " object";
}

Value no_member(const Value& value, const Value& key, Budget& budget) {
  if (key.text() != nullptr) {
    return Value::undefined(fmt::format("'{}' has no attribute '{}'", shown_type(value), key.text()->bytes));
  }
  return Value::undefined(fmt::format("{} has no element {}", shown_type(value), repr(key, budget)));
}

// Whether it evaluates its own operands in some order or not at all.
bool is_arithmetic(NodeKind kind) {
  return kind == NodeKind::binary || kind == NodeKind::negative || kind == NodeKind::positive;
}

}  // namespace

std::string Interpreter::text_of_value(const Value& value) {
  return text_of(value, budget_);
}

Value Interpreter::evaluate(const Node& node, const ScopePtr& scope) {
  const Budget::Level level(budget_);
  budget_.spend(1);
  if (is_arithmetic(node.kind)) return evaluate_arithmetic(node, scope);
  switch (node.kind) {
    case NodeKind::constant:
      return node.value;
    case NodeKind::name:
      return evaluate_name(node, scope);
    case NodeKind::list:
    case NodeKind::tuple:
    case NodeKind::dict:
      return evaluate_container(node, scope);
    case NodeKind::conditional:
    case NodeKind::logical_or:
    case NodeKind::logical_and:
    case NodeKind::logical_not:
      return evaluate_logic(node, scope);
    case NodeKind::comparison:
      return evaluate_comparison(node, scope);
    case NodeKind::concat:
      return evaluate_concat(node, scope);
    case NodeKind::attribute: {
      const Value value = evaluate(*node.children[0], scope);
      line_ = node.line;
      return attribute_of(value, node.text);
    }
    case NodeKind::item:
      return evaluate_item(node, scope);
    case NodeKind::call:
      return evaluate_call(node, scope);
    case NodeKind::filter:
      return evaluate_filter(node, evaluate(*node.children[0], scope), scope);
    case NodeKind::test:
      return evaluate_test(node, scope);
    default:
      refuse("an expression is no expression");
  }
}

Value Interpreter::evaluate_name(const Node& node, const ScopePtr& scope) {
  if (const Value* found = scope->find(node.text)) return *found;
  if (auto global = global_named(node.text)) return std::move(*global);
  return Value::undefined(fmt::format("'{}' is undefined", node.text));
}

Value Interpreter::evaluate_container(const Node& node, const ScopePtr& scope) {
  std::vector<Value> items;
  items.reserve(node.children.size());
  for (const NodePtr& child : node.children) items.push_back(evaluate(*child, scope));
  if (node.kind == NodeKind::list) return list(std::move(items));
  if (node.kind == NodeKind::tuple) return tuple(std::move(items));
  Dict dict;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) dict.set(items[i], std::move(items[i + 1]), budget_);
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Value Interpreter::evaluate_logic(const Node& node, const ScopePtr& scope) {
  Value first = evaluate(*node.children[0], scope);
  const bool is_true = first.is_true();
  switch (node.kind) {
    case NodeKind::logical_not:
      return Value(!is_true);
    case NodeKind::logical_or:
      return is_true ? first : evaluate(*node.children[1], scope);
    case NodeKind::logical_and:
      return is_true ? evaluate(*node.children[1], scope) : first;
    default:
      break;
  }
  if (is_true) return evaluate(*node.children[1], scope);
  if (node.children.size() > 2) return evaluate(*node.children[2], scope);
  return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::evaluate_comparison(const Node& node, const ScopePtr& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], scope);
    line_ = node.line;
    if (!holds(left, node.operators[i], right, budget_)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::evaluate_arithmetic(const Node& node, const ScopePtr& scope) {
  const Value left = evaluate(*node.children[0], scope);
  if (node.kind != NodeKind::binary) {
    line_ = node.line;
    return signed_as(left, node.kind == NodeKind::negative);
  }
  const Value right = evaluate(*node.children[1], scope);
  line_ = node.line;
  return calculate(left, node.text, right, budget_);
}

Value Interpreter::evaluate_concat(const Node& node, const ScopePtr& scope) {
  std::string text;
  for (const NodePtr& child : node.children) {
    const std::string part = text_of_value(evaluate(*child, scope));
    budget_.spend_on_text(text.size() + part.size());
    text += part;
  }
  return Value(std::move(text));
}

Value Interpreter::evaluate_item(const Node& node, const ScopePtr& scope) {
  const Value value = evaluate(*node.children[0], scope);
  const Node& key = *node.children[1];
  if (key.kind != NodeKind::slice) {
    const Value at = evaluate(key, scope);
    line_ = node.line;
    return item_of(value, at);
  }
  const auto part = [&](std::size_t i) {
    return key.children[i] ? evaluate(*key.children[i], scope) : Value();
  };
  const Slice slice{part(0), part(1), part(2)};
  line_ = node.line;
  return sliced(value, slice, budget_);
}

Value Interpreter::item_of(const Value& value, const Value& key) {
  value.require_defined();
  budget_.spend(1);
  const auto index = key.integer();
  if (const Text* text = value.text(); text != nullptr && index) {
    if (const auto position = position_in(*index, text->characters)) {
      budget_.spend_on_text(text->bytes.size());
      return character_at(*text, *position);
    }
  } else if (const Sequence* sequence = value.sequence(); sequence != nullptr && index) {
    if (const auto position = position_in(*index, sequence->items.size())) return sequence->items[*position];
  } else if (const Dict* dict = value.dict()) {
    // A key that cannot be hashed is not found either.
    const bool is_hashable = key.sequence() == nullptr ? key.dict() == nullptr : key.tuple() != nullptr;
    const Value* found = is_hashable ? dict->find(key) : nullptr;
    if (found != nullptr) return *found;
  } else if (Object* object = value.object()) {
    if (auto found = object->item(key, budget_)) return std::move(*found);
  }
  if (const Text* name = key.text()) {
    Object* object = value.object();
    auto found = object != nullptr ? object->attribute(name->bytes) : method_of(value, name->bytes);
    if (found) return std::move(*found);
  }
  return no_member(value, key, budget_);
}

Value Interpreter::attribute_of(const Value& value, const std::string& name) {
  value.require_defined();
  Object* object = value.object();
  if (auto found = object != nullptr ? object->attribute(name) : method_of(value, name)) return std::move(*found);
  if (const Dict* dict = value.dict()) {
    if (const Value* found = dict->find_text(name)) return *found;
  }
  return no_member(value, Value(name), budget_);
}

Arguments Interpreter::evaluate_arguments(const Node& node, const ScopePtr& scope) {
  Arguments arguments;
  for (const NodePtr& argument : node.positional) arguments.positional.push_back(evaluate(*argument, scope));
  if (node.star) {
    std::vector<Value> more = elements_of(evaluate(*node.star, scope), budget_);
    std::ranges::move(more, std::back_inserter(arguments.positional));
  }
  for (const auto& [name, argument] : node.named) arguments.named.emplace_back(name, evaluate(*argument, scope));
  if (node.double_star) {
    const Value more = evaluate(*node.double_star, scope);
    const Dict* dict = more.require_defined().dict();
    if (dict == nullptr) refuse("argument after ** must be a mapping, not {}", more.type_name());
    for (const auto& [key, value] : dict->entries()) {
      if (key.text() == nullptr) refuse("keywords must be strings");
      const std::string& name = key.text()->bytes;
      if (std::ranges::find(arguments.named, name, &std::pair<std::string, Value>::first) != arguments.named.end()) {
        refuse("got multiple values for keyword argument '{}'", name);
      }
      arguments.named.emplace_back(name, value);
    }
  }
  return arguments;
}

Value Interpreter::evaluate_call(const Node& node, const ScopePtr& scope) {
  const Value function = evaluate(*node.children[0], scope);
  const Arguments arguments = evaluate_arguments(node, scope);
  line_ = node.line;
  return call(function, arguments);
}

Value Interpreter::call(const Value& function, const Arguments& arguments) {
  function.require_defined();
  const std::shared_ptr<Object>* object = function.shared_object();
  if (object == nullptr) refuse("'{}' object is not callable", function.type_name());
  const Budget::Level level(budget_);
  budget_.spend(1);
  // Alive until it returns, even if the template assigns to its name meanwhile.
  const std::shared_ptr<Object> callee = *object;
  return callee->call(*this, arguments);
}

Value Interpreter::evaluate_filter(const Node& node, const Value& value, const ScopePtr& scope) {
  const Arguments arguments = evaluate_arguments(node, scope);
  line_ = node.line;
  return apply_filter(node.text, value, arguments);
}

Value Interpreter::evaluate_block_filter(const Node& node, Value value, const ScopePtr& scope) {
  const Budget::Level level(budget_);
  if (node.children[0]) value = evaluate_block_filter(*node.children[0], std::move(value), scope);
  return evaluate_filter(node, value, scope);
}

Value Interpreter::evaluate_test(const Node& node, const ScopePtr& scope) {
  const Value value = evaluate(*node.children[0], scope);
  const Arguments arguments = evaluate_arguments(node, scope);
  line_ = node.line;
  return Value(apply_test(node.text, value, arguments));
}

Value Interpreter::apply_filter(std::string_view name, const Value& value, const Arguments& arguments) {
  budget_.spend(1);
  return require_filter(name)(*this, value, arguments);
}

bool Interpreter::apply_test(std::string_view name, const Value& value, const Arguments& arguments) {
  budget_.spend(1);
  return require_test(name)(*this, value, arguments).is_true();
}

}  // namespace mslt::jinja
