// The methods of Python's types.
#include <algorithm>
#include <array>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

Value dict_items(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("items", arguments, {});
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->entries()) items.push_back(interpreter.tuple({key, value}));
  interpreter.budget().spend(items.size());
  return Value(std::make_shared<View>("dict_items", std::move(items), self.depth() + 1));
}

Value dict_keys(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("keys", arguments, {});
  return Value(std::make_shared<View>("dict_keys", elements_of(self, interpreter.budget()), self.depth()));
}

Value dict_values(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("values", arguments, {});
  std::vector<Value> values;
  for (const auto& entry : self.dict()->entries()) values.push_back(entry.second);
  interpreter.budget().spend(values.size());
  return Value(std::make_shared<View>("dict_values", std::move(values), self.depth()));
}

Value dict_get(Interpreter& /*interpreter*/, const Value& self, const Arguments& arguments) {
  if (!arguments.named.empty()) refuse("dict.get() takes no keyword arguments");
  const Bound bound("get", arguments, {"key", "default"}, 1);
  const Value* found = self.dict()->find(bound[0]);
  return found != nullptr ? *found : bound.value(1, Value());
}

Value dict_copy(Interpreter& /*interpreter*/, const Value& self, const Arguments& arguments) {
  const Bound bound("copy", arguments, {});
  return self;
}

Value list_count(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("count", arguments, {"value"}, 1);
  std::int64_t count = 0;
  for (const Value& item : self.sequence()->items) {
    if (are_equal(item, bound[0], interpreter.budget())) ++count;
  }
  return Value(count);
}

Value list_index(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("index", arguments, {"value", "start", "stop"}, 1);
  const std::vector<Value>& items = self.sequence()->items;
  const Slice slice{bound.value(1, Value()), bound.value(2, Value()), Value()};
  for (const std::size_t i : slice_positions(slice, items.size(), interpreter.budget())) {
    if (are_equal(items[i], bound[0], interpreter.budget())) return Value::size(i);
  }
  refuse("{} is not in list", repr(bound[0], interpreter.budget()));
}

Value real_is_integer(Interpreter& /*interpreter*/, const Value& self, const Arguments& arguments) {
  const Bound bound("is_integer", arguments, {});
  const double number = *self.real();
  return Value(number == static_cast<double>(static_cast<std::int64_t>(std::clamp(number, -9e18, 9e18))));
}

constexpr std::array<BuiltinEntry, 5> dict_methods = {
    {{"copy", dict_copy}, {"get", dict_get}, {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}}};
constexpr std::array<BuiltinEntry, 3> list_methods = {
    {{"copy", dict_copy}, {"count", list_count}, {"index", list_index}}};
constexpr std::array<BuiltinEntry, 2> tuple_methods = {{{"count", list_count}, {"index", list_index}}};
constexpr std::array<BuiltinEntry, 1> real_methods = {{{"is_integer", real_is_integer}}};

constexpr std::array<std::string_view, 8> list_changes = {"append", "clear",  "extend",  "insert",
                                                          "pop",    "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 5> dict_changes = {"clear", "pop", "popitem", "setdefault", "update"};

template <std::size_t count>
std::optional<Builtin> find_in(const std::array<BuiltinEntry, count>& methods, std::string_view name) {
  const auto* found = std::ranges::find(methods, name, &BuiltinEntry::first);
  return found == methods.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Builtin> find_method(const Value& value, std::string_view name) {
  if (value.text() != nullptr) return text_method(name);
  if (value.dict() != nullptr) return find_in(dict_methods, name);
  if (value.list() != nullptr) return find_in(list_methods, name);
  if (value.tuple() != nullptr) return find_in(tuple_methods, name);
  if (value.as<double>() != nullptr) return find_in(real_methods, name);
  return std::nullopt;
}

}  // namespace

std::optional<Value> method_of(const Value& value, std::string_view name) {
  const bool changes = (value.list() != nullptr && std::ranges::find(list_changes, name) != list_changes.end()) ||
                       (value.dict() != nullptr && std::ranges::find(dict_changes, name) != dict_changes.end());
  if (changes) {
    return Value::undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe: templates cannot change "
                    "lists and dicts; add lists, or use a namespace",
                    name, value.type_name()));
  }
  const auto method = find_method(value, name);
  if (!method) return std::nullopt;
  const auto bound = [value, method = *method](Interpreter& interpreter, const Arguments& arguments) {
    return method(interpreter, value, arguments);
  };
  return Value(std::make_shared<Function>(std::string(name), bound, value.depth() + 1));
}

}  // namespace mslt::jinja
