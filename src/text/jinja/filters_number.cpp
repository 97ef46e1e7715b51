// Filters on numbers, and those on any value.
#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

constexpr double whole_limit = 9.2e18;  // below 2^63

std::optional<std::int64_t> whole_part(double number) {
  if (!std::isfinite(number)) return std::nullopt;
  const double whole = std::trunc(number);
  if (std::abs(whole) > whole_limit) refuse("the integer {} is beyond 64 bits", number);
  return static_cast<std::int64_t>(whole);
}

Value filter_abs(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("abs", arguments, {});
  value.require_defined();
  if (const double* number = value.as<double>()) return Value(std::abs(*number));
  const auto number = value.integer();
  if (!number) refuse("bad operand type for abs(): '{}'", value.type_name());
  if (*number == std::numeric_limits<std::int64_t>::min()) refuse("the result is an integer beyond 64 bits");
  return Value(std::abs(*number));
}

Value filter_int(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("int", arguments, {"default", "base"});
  value.require_defined();
  if (const auto number = value.integer()) return Value(*number);
  constexpr std::int64_t decimal = 10;
  if (const double* number = value.as<double>()) {
    const auto whole = whole_part(*number);
    if (whole) return Value(*whole);
    if (std::isinf(*number)) refuse("cannot convert float infinity to integer");
    return bound.value(0, Value(0));
  }
  if (const Text* text = value.text()) {
    const std::int64_t base = bound.integer(1, decimal);
    if (const auto number = parse_integer(text->bytes, base < 0 || base > 36 ? 1 : static_cast<int>(base))) {
      return Value(*number);
    }
    const auto real = parse_real(text->bytes);
    const auto whole = real ? whole_part(*real) : std::nullopt;
    if (whole) return Value(*whole);
  }
  return bound.value(0, Value(0));
}

Value filter_float(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("float", arguments, {"default"});
  value.require_defined();
  if (const auto number = value.real()) return Value(*number);
  if (const Text* text = value.text()) {
    if (const auto number = parse_real(text->bytes)) return Value(*number);
  }
  return bound.value(0, Value(0.0));
}

// Python's round(): to the nearest decimal, halves of the exact binary value to even.
double rounded(double number, std::int64_t precision) {
  constexpr std::int64_t most = 300;
  if (!std::isfinite(number) || precision > most) return number;
  if (precision < -most) return std::copysign(0.0, number);
  if (precision >= 0) return parse_real(fmt::format("{:.{}f}", number, precision)).value_or(number);
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(number / unit) * unit;
}

Value filter_round(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("round", arguments, {"precision", "method"});
  const std::string method = bound.has(1) ? bound.text(1) : "common";
  if (method != "common" && method != "ceil" && method != "floor") refuse("method must be common, ceil or floor");
  value.require_defined();
  const std::int64_t precision = bound.integer(0, 0);
  if (!value.is_number()) refuse("type {} doesn't define __round__ method", value.type_name());
  if (method == "common") {
    if (const auto whole = value.integer()) {
      if (precision >= 0) return Value(*whole);
      return Value(static_cast<std::int64_t>(rounded(static_cast<double>(*whole), precision)));
    }
    return Value(rounded(*value.real(), precision));
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *value.real() * unit;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

Value filter_default(Interpreter& /*interpreter*/, const Value& value, const Arguments& arguments) {
  const Bound bound("default", arguments, {"default_value", "boolean"});
  const bool is_replaced = value.is_undefined() || (bound.flag(1, false) && !value.is_true());
  return is_replaced ? bound.value(0, Value("")) : value;
}

Value filter_attr(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("attr", arguments, {"name"}, 1);
  const std::string name = bound.text(0);
  value.require_defined();
  // Attributes alone, never items.
  Object* object = value.object();
  if (auto found = object != nullptr ? object->attribute(name) : method_of(value, name)) return std::move(*found);
  interpreter.budget().spend(1);
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", value.type_name(), name));
}

constexpr std::array<BuiltinEntry, 7> entries_of_any = {{
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"d", filter_default},
    {"default", filter_default},
    {"float", filter_float},
    {"int", filter_int},
    {"round", filter_round},
}};

}  // namespace

std::optional<Builtin> number_filter(std::string_view name) {
  const auto* found = std::ranges::find(entries_of_any, name, &BuiltinEntry::first);
  return found == entries_of_any.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace mslt::jinja
