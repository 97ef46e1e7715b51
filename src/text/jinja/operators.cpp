// Arithmetic and comparison.
#include "text/jinja/operators.h"

#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/python_text.h"

namespace mslt::jinja {
namespace {

[[noreturn]] void refuse_operands(const Value& left, std::string_view operation, const Value& right) {
  refuse("unsupported operand type(s) for {}: '{}' and '{}'", operation, left.type_name(), right.type_name());
}

[[noreturn]] void refuse_overflow() {
  refuse("the result is an integer beyond 64 bits, which is not supported");
}

// Python rounds quotients down, and remainders take the sign of the divisor.
std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (b == 0) refuse("integer division or modulo by zero");
  if (b == -1) {
    std::int64_t negated = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, a, &negated)) refuse_overflow();
    return negated;
  }
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_remainder(std::int64_t a, std::int64_t b) {
  if (b == 0) refuse("integer modulo by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_remainder(double a, double b) {
  if (b == 0.0) refuse("float modulo by zero");
  double rest = std::fmod(a, b);
  if (rest != 0.0 && (rest < 0.0) != (b < 0.0)) rest += b;
  return rest == 0.0 ? std::copysign(0.0, b) : rest;
}

double floor_quotient(double a, double b) {
  if (b == 0.0) refuse("float floor division by zero");
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0.0 && (rest < 0.0) != (b < 0.0)) quotient -= 1.0;
  if (quotient == 0.0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  constexpr double half = 0.5;
  return quotient - floored > half ? floored + 1.0 : floored;
}

std::int64_t whole_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (true) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) refuse_overflow();
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) refuse_overflow();
  }
}

Value whole(std::int64_t a, std::string_view operation, std::int64_t b) {
  std::int64_t result = 0;
  bool overflows = false;
  if (operation == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (operation == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (operation == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else if (operation == "//") {
    result = floor_quotient(a, b);
  } else if (operation == "%") {
    result = floor_remainder(a, b);
  } else if (operation == "/") {
    if (b == 0) refuse("division by zero");
    return Value(static_cast<double>(a) / static_cast<double>(b));
  } else if (b < 0) {
    if (a == 0) refuse("0.0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
  } else {
    result = whole_power(a, b);
  }
  if (overflows) refuse_overflow();
  return Value(result);
}

Value floating(double a, std::string_view operation, double b) {
  if (operation == "+") return Value(a + b);
  if (operation == "-") return Value(a - b);
  if (operation == "*") return Value(a * b);
  if (operation == "//") return Value(floor_quotient(a, b));
  if (operation == "%") return Value(floor_remainder(a, b));
  if (operation == "/") {
    if (b == 0.0) refuse("float division by zero");
    return Value(a / b);
  }
  if (a == 0.0 && b < 0.0) refuse("0.0 cannot be raised to a negative power");
  const double power = std::pow(a, b);
  if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) refuse("complex numbers are not supported");
  if (std::isinf(power) && !std::isinf(a) && !std::isinf(b)) refuse("the result is too large for a float");
  return Value(power);
}

// text * number and list * number.
Value repeated(const Value& value, std::int64_t times, Budget& budget) {
  const std::size_t count = times < 0 ? 0 : static_cast<std::size_t>(times);
  if (const Text* text = value.text()) {
    budget.spend_on_product(text->bytes.size(), count);
    std::string result;
    if (!text->bytes.empty()) {
      result.reserve(text->bytes.size() * count);
      for (std::size_t i = 0; i < count; ++i) result += text->bytes;
    }
    return Value(std::make_shared<const Text>(std::move(result), text->is_safe));
  }
  const Sequence& sequence = *value.sequence();
  std::vector<Value> items;
  if (!sequence.items.empty()) {
    budget.spend_on_product(sequence.items.size() * sizeof(Value), count);
    budget.spend(sequence.items.size() * count);
    for (std::size_t i = 0; i < count; ++i) items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  }
  return sequence.is_tuple ? Value::tuple(std::move(items), budget) : Value::list(std::move(items), budget);
}

Value joined_sequences(const Sequence& left, const Sequence& right, Budget& budget) {
  budget.spend(1 + left.items.size() + right.items.size());
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return left.is_tuple ? Value::tuple(std::move(items), budget) : Value::list(std::move(items), budget);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '"':
        result += "&#34;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

Value joined_texts(const Text& left, const Text& right, Budget& budget) {
  budget.spend_on_text(left.bytes.size() + right.bytes.size());
  if (!left.is_safe && !right.is_safe) return Value(left.bytes + right.bytes);
  const auto safe = [](const Text& text) {
    return text.is_safe ? text.bytes : escaped(text.bytes);
  };
  return Value(std::make_shared<const Text>(safe(left) + safe(right), true));
}

std::optional<std::size_t> position_in(std::int64_t index, std::size_t length) {
  const auto count = static_cast<std::int64_t>(length);
  const std::int64_t position = index < 0 ? index + count : index;
  if (position < 0 || position >= count) return std::nullopt;
  return static_cast<std::size_t>(position);
}

Value calculate(const Value& left, std::string_view operation, const Value& right, Budget& budget) {
  left.require_defined();
  if (operation == "%" && left.text() != nullptr) return Value(format_percent(*left.text(), right, budget));
  right.require_defined();
  if (left.is_number() && right.is_number()) {
    const auto a = left.integer();
    const auto b = right.integer();
    return a && b ? whole(*a, operation, *b) : floating(*left.real(), operation, *right.real());
  }
  if (operation == "+") {
    if (left.text() != nullptr && right.text() != nullptr) return joined_texts(*left.text(), *right.text(), budget);
    const Sequence* a = left.sequence();
    const Sequence* b = right.sequence();
    if (a != nullptr && b != nullptr && a->is_tuple == b->is_tuple) return joined_sequences(*a, *b, budget);
    if (left.text() != nullptr) refuse("can only concatenate str (not \"{}\") to str", right.type_name());
    if (a != nullptr) {
      refuse("can only concatenate {} (not \"{}\") to {}", left.type_name(), right.type_name(), left.type_name());
    }
  }
  if (operation == "*") {
    const auto repeats = [](const Value& value) {
      return value.text() != nullptr || value.sequence() != nullptr;
    };
    if (repeats(left) && right.integer()) return repeated(left, *right.integer(), budget);
    if (repeats(right) && left.integer()) return repeated(right, *left.integer(), budget);
  }
  refuse_operands(left, operation, right);
}

Value signed_as(const Value& value, bool negative) {
  value.require_defined();
  if (const double* number = value.as<double>()) return Value(negative ? -*number : *number);
  const auto number = value.integer();
  if (!number) refuse("bad operand type for unary {}: '{}'", negative ? '-' : '+', value.type_name());
  return negative ? whole(0, "-", *number) : Value(*number);
}

bool contains(const Value& container, const Value& value, Budget& budget) {
  if (const Text* text = container.text()) {
    value.require_defined();
    const Text* part = value.text();
    if (part == nullptr) refuse("'in <string>' requires string as left operand, not {}", value.type_name());
    budget.spend_on_text(text->bytes.size());
    return text->bytes.find(part->bytes) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) return dict->find(value) != nullptr;
  if (const Sequence* sequence = container.sequence()) {
    for (const Value& item : sequence->items) {
      if (item.is_same(value) || are_equal(item, value, budget)) return true;
    }
    return false;
  }
  if (!is_iterable(container)) refuse("argument of type '{}' is not iterable", container.type_name());
  for (const Value& item : elements_of(container, budget)) {
    if (are_equal(item, value, budget)) return true;
  }
  return false;
}

bool holds(const Value& left, std::string_view operation, const Value& right, Budget& budget) {
  if (operation == "==") return are_equal(left, right, budget);
  if (operation == "!=") return !are_equal(left, right, budget);
  if (operation == "in") return contains(right, left, budget);
  if (operation == "not in") return !contains(right, left, budget);
  const std::partial_ordering order = compare(left, right, operation, budget);
  if (operation == "<") return order < 0;
  if (operation == "<=") return order <= 0;
  if (operation == ">") return order > 0;
  return order >= 0;
}

Value sliced(const Value& value, const Slice& slice, Budget& budget) {
  value.require_defined();
  if (const Text* text = value.text()) {
    const std::vector<std::size_t> positions = slice_positions(slice, text->characters, budget);
    budget.spend_on_text(text->bytes.size());
    std::string result;
    if (text->characters == text->bytes.size()) {
      for (const std::size_t position : positions) result += text->bytes[position];
    } else {
      const std::vector<Value> characters = characters_of(*text, budget);
      for (const std::size_t position : positions) result += characters[position].text()->bytes;
    }
    return Value(std::move(result));
  }
  std::vector<Value> items;
  if (const Sequence* sequence = value.sequence()) {
    for (const std::size_t i : slice_positions(slice, sequence->items.size(), budget)) {
      items.push_back(sequence->items[i]);
    }
    return sequence->is_tuple ? Value::tuple(std::move(items), budget) : Value::list(std::move(items), budget);
  }
  if (value.object() != nullptr && value.object()->type_name() == "range") {
    const std::vector<Value> all = elements_of(value, budget);
    for (const std::size_t i : slice_positions(slice, all.size(), budget)) items.push_back(all[i]);
    return Value::list(std::move(items), budget);
  }
  return Value::undefined(fmt::format("{} has no element of a slice", value.type_name()));
}

}  // namespace mslt::jinja
