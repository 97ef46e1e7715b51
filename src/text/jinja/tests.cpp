// The tests behind `is`.
#include <algorithm>
#include <array>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

bool is_mapping(const Value& value) {
  return value.dict() != nullptr;
}

bool is_sequence(const Value& value) {
  if (value.is_undefined() || value.text() != nullptr || value.sequence() != nullptr || value.dict() != nullptr) {
    return true;
  }
  return value.object() != nullptr && value.object()->is_indexable() && value.object()->length();
}

// A test without arguments, from a predicate.
template <bool (*predicate)(const Value&)>
Value simple(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("test", arguments, {});
  return Value(predicate(value));
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined_value(const Value& value) {
  return value.is_undefined();
}
bool is_none_value(const Value& value) {
  return value.is_none();
}
bool is_text(const Value& value) {
  return value.text() != nullptr;
}
bool is_any_number(const Value& value) {
  return value.is_number();
}
bool is_whole(const Value& value) {
  return value.as<std::int64_t>() != nullptr;
}
bool is_real(const Value& value) {
  return value.as<double>() != nullptr;
}
bool is_boolean(const Value& value) {
  return value.as<bool>() != nullptr;
}
bool is_true_itself(const Value& value) {
  return is_boolean(value) && *value.as<bool>();
}
bool is_false_itself(const Value& value) {
  return is_boolean(value) && !*value.as<bool>();
}
bool is_callable_value(const Value& value) {
  // Undefined values have a __call__, which raises.
  return value.is_undefined() || (value.object() != nullptr && value.object()->is_callable());
}
bool is_escaped(const Value& value) {
  return value.text() != nullptr && value.text()->is_safe;
}

// value <operation> argument.
Value compared(Interpreter& interpreter, const Value& value, const Arguments& arguments, std::string_view operation) {
  const Bound bound("test", arguments, {"other"}, 1);
  return Value(holds(value, operation, bound[0], interpreter.budget()));
}

Value test_eq(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, "==");
}
Value test_ne(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, "!=");
}
Value test_lt(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, "<");
}
Value test_le(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, "<=");
}
Value test_gt(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, ">");
}
Value test_ge(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, ">=");
}
Value test_in(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  return compared(interpreter, value, arguments, "in");
}

Value remainder_is(Interpreter& interpreter, const Value& value, const Value& divisor, int rest) {
  return Value(are_equal(calculate(value, "%", divisor, interpreter.budget()), Value(rest), interpreter.budget()));
}

Value test_even(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("even", arguments, {});
  return remainder_is(interpreter, value, Value(2), 0);
}
Value test_odd(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("odd", arguments, {});
  return remainder_is(interpreter, value, Value(2), 1);
}
Value test_divisibleby(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("divisibleby", arguments, {"num"}, 1);
  return remainder_is(interpreter, value, bound[0], 0);
}

Value test_lower(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("lower", arguments, {});
  return Value(is_cased_as(interpreter.text(value), false));
}
Value test_upper(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("upper", arguments, {});
  return Value(is_cased_as(interpreter.text(value), true));
}

Value test_sameas(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("sameas", arguments, {"other"}, 1);
  return Value(value.is_same(bound[0]));
}

Value test_filter(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("filter", arguments, {});
  return Value(value.text() != nullptr && has_filter(value.text()->bytes));
}
Value test_test(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("test", arguments, {});
  return Value(value.text() != nullptr && has_test(value.text()->bytes));
}

constexpr std::array<BuiltinEntry, 39> test_entries = {{
    {"!=", test_ne},
    {"<", test_lt},
    {"<=", test_le},
    {"==", test_eq},
    {">", test_gt},
    {">=", test_ge},
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable_value>},
    {"defined", simple<is_defined>},
    {"divisibleby", test_divisibleby},
    {"eq", test_eq},
    {"equalto", test_eq},
    {"escaped", simple<is_escaped>},
    {"even", test_even},
    {"false", simple<is_false_itself>},
    {"filter", test_filter},
    {"float", simple<is_real>},
    {"ge", test_ge},
    {"greaterthan", test_gt},
    {"gt", test_gt},
    {"in", test_in},
    {"integer", simple<is_whole>},
    {"iterable", simple<is_iterable>},
    {"le", test_le},
    {"lessthan", test_lt},
    {"lower", test_lower},
    {"lt", test_lt},
    {"mapping", simple<is_mapping>},
    {"ne", test_ne},
    {"none", simple<is_none_value>},
    {"number", simple<is_any_number>},
    {"odd", test_odd},
    {"sameas", test_sameas},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_text>},
    {"test", test_test},
    {"true", simple<is_true_itself>},
    {"undefined", simple<is_undefined_value>},
    {"upper", test_upper},
}};

}  // namespace

std::optional<Builtin> find_test(std::string_view name) {
  const auto* found = std::ranges::find(test_entries, name, &BuiltinEntry::first);
  return found == test_entries.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace mslt::jinja
