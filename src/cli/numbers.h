// The only parser of numbers and truth values for options, on the command line and in files.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
class Option;
}  // namespace CLI

namespace mslt::cli {

// Whole numbers from `least` to `most`. `unit` is what they count, for messages: "steps".
struct IntegerRange {
  std::int64_t least = 0;
  std::uint64_t most = std::uint64_t{1} << 40;
  std::string_view unit = {};
};

// Numbers from `least` to `most`, excluding an end that is open.
struct RealRange {
  double least = 0.0;
  double most = 1.0;
  bool above_least = false;
  bool below_most = false;
  std::string_view unit = {};
};

// "a whole number from 1 to 64 threads"; "a number above 0 and up to 1".
std::string describe(const IntegerRange& range);
std::string describe(const RealRange& range);

// A whole number in decimal digits with an optional minus, as 64-bit two's complement: the caller casts it to the type
// that `range` fits. All of the text must be the number. Throws Error(usage) that names `flag`, the text and the range:
// "--steps is 'abc'; it must be a whole number from 1 to 64 steps."
std::uint64_t parse_integer(std::string_view flag, std::string_view text, const IntegerRange& range);

// The same for decimal fractions with an optional exponent; neither infinite nor NaN. Rounded once to double.
double parse_double(std::string_view flag, std::string_view text, const RealRange& range);
// The same, rounded once to float and compared with the range as a float.
float parse_float(std::string_view flag, std::string_view text, const RealRange& range);

// true, yes, on and 1 are true; false, no, off and 0 are false. Throws Error(usage) for others.
bool parse_boolean(std::string_view flag, std::string_view text);

namespace detail {

template <class T>
struct ValueOf {
  using Type = T;
};
template <class T>
struct ValueOf<std::optional<T>> {
  using Type = T;
};

inline double parse_real(std::string_view flag, std::string_view text, const RealRange& range, double*) {
  return parse_double(flag, text, range);
}
inline float parse_real(std::string_view flag, std::string_view text, const RealRange& range, float*) {
  return parse_float(flag, text, range);
}

std::string shown(std::int64_t value);
std::string shown(std::uint64_t value);
std::string shown(double value);
std::string shown(float value);
std::string shown(bool value);

template <class T>
std::string default_of(const T& value) {
  if constexpr (std::numeric_limits<T>::is_signed && std::numeric_limits<T>::is_integer) {
    return shown(static_cast<std::int64_t>(value));
  } else if constexpr (std::numeric_limits<T>::is_integer && !std::is_same_v<T, bool>) {
    return shown(static_cast<std::uint64_t>(value));
  } else {
    return shown(value);
  }
}
template <class T>
std::string default_of(const std::optional<T>& value) {
  return value ? default_of(*value) : std::string();
}

// `check` throws for an invalid text, `take` reads it into the variable.
CLI::Option* add_value(CLI::App& command, const std::string& flag, const std::string& description,
                       const std::string& type, const std::string& valid, std::function<void(const std::string&)> check,
                       std::function<void(const std::string&)> take, std::function<std::string()> shown_default);

}  // namespace detail

// The types of options in the help, which also distinguish a file's values.
inline constexpr std::string_view integer_type = "INTEGER";
// Of an option whose value is a number of things, or a text that names them.
inline constexpr std::string_view count_or_list_type = "COUNT|LIST";
inline constexpr std::string_view real_type = "NUMBER";
inline constexpr std::string_view boolean_type = "true|false";
// That of an option, without its range.
std::string type_of(const CLI::Option& option);

// Adds an option with such a number; `value` is an integer, or an optional one, whose current value is the default. The
// range is narrowed to the type of `value`. A bad text throws Error(usage) out of CLI::App's parse.
template <class T>
CLI::Option* add_integer(CLI::App& command, const std::string& flag, T& value, const std::string& description,
                         IntegerRange range) {
  using Value = typename detail::ValueOf<T>::Type;
  using Limits = std::numeric_limits<Value>;
  static_assert(Limits::is_integer);
  range.most = std::min(range.most, static_cast<std::uint64_t>(Limits::max()));
  range.least = Limits::is_signed ? std::max(range.least, static_cast<std::int64_t>(Limits::min()))
                                  : std::max(range.least, std::int64_t{0});
  const auto parse = [flag, range](const std::string& text) {
    return static_cast<Value>(parse_integer(flag, text, range));
  };
  return detail::add_value(
      command, flag, description, std::string(integer_type), describe(range), parse,
      [parse, &value](const std::string& text) { value = parse(text); },
      [&value] { return detail::default_of(value); });
}

// The same for float and double.
template <class T>
CLI::Option* add_real(CLI::App& command, const std::string& flag, T& value, const std::string& description,
                      const RealRange& range) {
  using Value = typename detail::ValueOf<T>::Type;
  const auto parse = [flag, range](const std::string& text) {
    return detail::parse_real(flag, text, range, static_cast<Value*>(nullptr));
  };
  return detail::add_value(
      command, flag, description, std::string(real_type), describe(range), parse,
      [parse, &value](const std::string& text) { value = parse(text); },
      [&value] { return detail::default_of(value); });
}

// An option with a truth value.
template <class T>
CLI::Option* add_boolean(CLI::App& command, const std::string& flag, T& value, const std::string& description) {
  const auto parse = [flag](const std::string& text) {
    return parse_boolean(flag, text);
  };
  return detail::add_value(
      command, flag, description, std::string(boolean_type), "", parse,
      [parse, &value](const std::string& text) { value = parse(text); },
      [&value] { return detail::default_of(value); });
}

// A flag, true if given; --flag=false is false.
CLI::Option* add_switch(CLI::App& command, const std::string& flag, bool& value, const std::string& description);

}  // namespace mslt::cli
