// Jinja's filters, tests, functions and the methods of Python's types.
#pragma once

#include <ctime>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace mslt::jinja {

// The arguments of one call by the names of its parameters. Throws Failure for unknown names, for arguments given
// twice, for too many, and for fewer than `required`.
class Bound {
 public:
  Bound(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names,
        std::size_t required = 0);
  bool has(std::size_t i) const { return values_[i].has_value(); }
  const Value& operator[](std::size_t i) const { return *values_[i]; }
  Value value(std::size_t i, const Value& fallback) const { return has(i) ? *values_[i] : fallback; }
  // Python's bool() of it.
  bool flag(std::size_t i, bool fallback) const { return has(i) ? values_[i]->is_true() : fallback; }
  // Throw Failure for other types.
  std::int64_t integer(std::size_t i, std::int64_t fallback) const;
  std::string text(std::size_t i) const;
  std::optional<std::string> optional_text(std::size_t i) const;  // nothing for None, too

 private:
  std::string function_;
  std::vector<std::string> names_;
  std::vector<std::optional<Value>> values_;
};

using Builtin = Value (*)(Interpreter&, const Value&, const Arguments&);
using BuiltinEntry = std::pair<std::string_view, Builtin>;

// The tables, each in a file of its own.
std::optional<Builtin> text_filter(std::string_view name);
std::optional<Builtin> sequence_filter(std::string_view name);
std::optional<Builtin> number_filter(std::string_view name);
std::optional<Builtin> find_test(std::string_view name);
bool has_filter(std::string_view name);
bool has_test(std::string_view name);
// Throws Failure if there is none of that name.
Builtin require_filter(std::string_view name);
Builtin require_test(std::string_view name);

// A method of Python's str, list, tuple, dict and numbers; nothing if the type has none of that name. Those that change
// the value give something undefined, as in Jinja's immutable sandbox.
std::optional<Value> method_of(const Value& value, std::string_view name);
std::optional<Builtin> text_method(std::string_view name);
// A function of every template: range, dict, namespace and so on.
std::optional<Value> global_named(std::string_view name);

// json.dumps, as transformers' filter tojson calls it.
Value tojson(Interpreter& interpreter, const Value& value, const Arguments& arguments);
// text % values, and text.format(...).
std::string format_percent(const Text& format, const Value& values, Budget& budget);
std::string format_braces(Interpreter& interpreter, const Text& format, const Arguments& arguments);
// datetime.strftime.
std::string format_time(std::time_t time, const std::string& format);

}  // namespace mslt::jinja
