// Parsing whole texts as numbers, and options with numbers.
#include "cli/numbers.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/fail.h"
#include "base/printable.h"

namespace mslt::cli {
namespace {

[[noreturn]] void refuse(std::string_view flag, std::string_view text, std::string_view valid) {
  constexpr std::size_t most_shown = 60;
  if (text.empty()) fail(ErrorKind::usage, "{} is empty; it must be {}.", flag, valid);
  const std::string shown =
      text.size() <= most_shown ? printable(text) : fmt::format("{}...", printable(text.substr(0, most_shown)));
  fail(ErrorKind::usage, "{} is '{}'; it must be {}.", flag, shown, valid);
}

std::string with_unit(std::string words, std::string_view unit) {
  return unit.empty() ? words : fmt::format("{} {}", words, unit);
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::size_t digits_at(std::string_view text, std::size_t position) {
  std::size_t count = 0;
  while (position + count < text.size() && is_digit(text[position + count])) ++count;
  return count;
}

// strtod accepts more than decimal numbers: blanks, hexadecimal, inf and nan.
bool is_decimal(std::string_view text) {
  std::size_t at = text.starts_with('-') ? 1 : 0;
  std::size_t digits = digits_at(text, at);
  at += digits;
  if (at < text.size() && text[at] == '.') {
    const std::size_t fraction = digits_at(text, at + 1);
    digits += fraction;
    at += 1 + fraction;
  }
  if (digits == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const std::size_t exponent = digits_at(text, at);
    if (exponent == 0) return false;
    at += exponent;
  }
  return at == text.size();
}

template <class Real>
bool contains(const RealRange& range, Real value) {
  const auto least = static_cast<Real>(range.least);
  const auto most = static_cast<Real>(range.most);
  if (!std::isfinite(value)) return false;
  return (range.above_least ? value > least : value >= least) && (range.below_most ? value < most : value <= most);
}

}  // namespace

std::string describe(const IntegerRange& range) {
  return with_unit(fmt::format("a whole number from {} to {}", range.least, range.most), range.unit);
}

std::string describe(const RealRange& range) {
  return with_unit(fmt::format("a number {} {:g}{} {:g}", range.above_least ? "above" : "from", range.least,
                               range.below_most    ? " and below"
                               : range.above_least ? " and up to"
                                                   : " to",
                               range.most),
                   range.unit);
}

std::uint64_t parse_integer(std::string_view flag, std::string_view text, const IntegerRange& range) {
  const bool is_negative = text.starts_with('-');
  const std::string_view digits = text.substr(is_negative ? 1 : 0);
  std::uint64_t magnitude = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), magnitude);
  if (error != std::errc() || end != digits.data() + digits.size()) refuse(flag, text, describe(range));
  if (is_negative && magnitude != 0) {
    // Computes the magnitude of the least number without negating it, which could overflow.
    const bool fits = range.least < 0 && magnitude <= std::uint64_t{0} - static_cast<std::uint64_t>(range.least);
    if (!fits) refuse(flag, text, describe(range));
    return std::uint64_t{0} - magnitude;
  }
  const bool is_large_enough = range.least <= 0 || magnitude >= static_cast<std::uint64_t>(range.least);
  if (!is_large_enough || magnitude > range.most) refuse(flag, text, describe(range));
  return magnitude;
}

double parse_double(std::string_view flag, std::string_view text, const RealRange& range) {
  if (!is_decimal(text)) refuse(flag, text, describe(range));
  const double value = std::strtod(std::string(text).c_str(), nullptr);
  if (!contains(range, value)) refuse(flag, text, describe(range));
  return value;
}

float parse_float(std::string_view flag, std::string_view text, const RealRange& range) {
  if (!is_decimal(text)) refuse(flag, text, describe(range));
  const float value = std::strtof(std::string(text).c_str(), nullptr);
  if (!contains(range, value)) refuse(flag, text, describe(range));
  return value;
}

bool parse_boolean(std::string_view flag, std::string_view text) {
  constexpr std::array<std::string_view, 4> yes = {"true", "yes", "on", "1"};
  constexpr std::array<std::string_view, 4> no = {"false", "no", "off", "0"};
  if (std::find(yes.begin(), yes.end(), text) != yes.end()) return true;
  if (std::find(no.begin(), no.end(), text) != no.end()) return false;
  refuse(flag, text, "true, yes, on or 1, or false, no, off or 0");
}

std::string type_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.substr(0, type.find(':'));
}

CLI::Option* add_switch(CLI::App& command, const std::string& flag, bool& value, const std::string& description) {
  const std::function<std::string(std::string&)> check = [flag](std::string& text) {
    parse_boolean(flag, text);
    return std::string();
  };
  return command.add_flag(flag, value, description)->check(CLI::Validator(check, ""));
}

namespace detail {

std::string shown(std::int64_t value) {
  return fmt::format("{}", value);
}
std::string shown(std::uint64_t value) {
  return fmt::format("{}", value);
}
std::string shown(double value) {
  return fmt::format("{}", value);
}
std::string shown(float value) {
  return fmt::format("{}", value);
}
std::string shown(bool value) {
  return value ? "true" : "false";
}

CLI::Option* add_value(CLI::App& command, const std::string& flag, const std::string& description,
                       const std::string& type, const std::string& valid, std::function<void(const std::string&)> check,
                       std::function<void(const std::string&)> take, std::function<std::string()> shown_default) {
  const CLI::callback_t callback = [take = std::move(take)](const CLI::results_t& results) {
    take(results.back());
    return true;
  };
  const std::function<std::string(std::string&)> validate = [check = std::move(check)](std::string& text) {
    check(text);
    return std::string();
  };
  // The help shows the range without its first words, which repeat the type.
  const std::size_t range = valid.find("number ");
  const std::string words = range == std::string::npos ? std::string() : valid.substr(range + 7);
  CLI::Option* option = command.add_option(flag, callback, description, false, std::move(shown_default));
  option->type_name(type)->check(CLI::Validator(validate, words));
  return option;
}

}  // namespace detail
}  // namespace mslt::cli
