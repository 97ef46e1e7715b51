// Formatting with % and with braces.
#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

constexpr std::size_t most_width = 1'000'000;

// How one value is laid out, in either language.
struct Layout {
  std::string fill = " ";
  char align = 0;   // < > ^ =, or 0 for the type's own
  char sign = '-';  // - + or space
  bool alternate = false;
  bool grouped = false;
  std::size_t width = 0;
  std::optional<std::size_t> precision;
  char type = 0;
};

std::string filled(std::string_view fill, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += fill;
  return text;
}

// `sign` comes before what `=` fills.
std::string laid_out(const std::string& sign, const std::string& body, const Layout& layout, char own_align) {
  const std::size_t length = count_of_characters(sign) + count_of_characters(body);
  if (length >= layout.width) return sign + body;
  const std::size_t pad = layout.width - length;
  switch (layout.align != 0 ? layout.align : own_align) {
    case '<':
      return sign + body + filled(layout.fill, pad);
    case '^':
      return filled(layout.fill, pad / 2) + sign + body + filled(layout.fill, pad - pad / 2);
    case '=':
      return sign + filled(layout.fill, pad) + body;
    default:
      return filled(layout.fill, pad) + sign + body;
  }
}

std::string sign_of(bool negative, const Layout& layout) {
  if (negative) return "-";
  return layout.sign == '-' ? "" : std::string(1, layout.sign);
}

std::string with_commas(const std::string& digits) {
  const std::size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string text;
  for (std::size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text + digits.substr(end);
}

std::string whole_digits(std::uint64_t number, const Layout& layout) {
  switch (layout.type) {
    case 'x':
      return (layout.alternate ? "0x" : "") + fmt::format("{:x}", number);
    case 'X':
      return (layout.alternate ? "0X" : "") + fmt::format("{:X}", number);
    case 'o':
      return (layout.alternate ? "0o" : "") + fmt::format("{:o}", number);
    case 'b':
      return (layout.alternate ? "0b" : "") + fmt::format("{:b}", number);
    default:
      return layout.grouped ? with_commas(fmt::format("{}", number)) : fmt::format("{}", number);
  }
}

std::string whole_text(std::int64_t number, const Layout& layout) {
  const auto magnitude = number < 0 ? ~static_cast<std::uint64_t>(number) + 1 : static_cast<std::uint64_t>(number);
  std::string digits = whole_digits(magnitude, layout);
  if (layout.precision && digits.size() < *layout.precision) {
    digits.insert(0, *layout.precision - digits.size(), '0');
  }
  return laid_out(sign_of(number < 0, layout), digits, layout, '>');
}

std::string real_digits(double number, const Layout& layout) {
  if (!std::isfinite(number)) return std::isnan(number) ? "nan" : "inf";
  const std::size_t precision = layout.precision.value_or(6);
  switch (layout.type) {
    case 'e':
      return fmt::format("{:.{}e}", number, precision);
    case 'E':
      return fmt::format("{:.{}E}", number, precision);
    case 'g':
      return fmt::format("{:.{}g}", number, std::max<std::size_t>(precision, 1));
    case 'G':
      return fmt::format("{:.{}G}", number, std::max<std::size_t>(precision, 1));
    case '%':
      return fmt::format("{:.{}f}%", number * 100.0, precision);
    default:
      return fmt::format("{:.{}f}", number, precision);
  }
}

std::string real_text(double number, const Layout& layout) {
  std::string digits = real_digits(std::abs(number), layout);
  if (layout.grouped) digits = with_commas(digits);
  return laid_out(sign_of(std::signbit(number) && !std::isnan(number), layout), digits, layout, '>');
}

std::string cut_text(std::string text, const Layout& layout) {
  if (!layout.precision) return text;
  std::size_t at = 0;
  for (std::size_t i = 0; i < *layout.precision && at < text.size(); ++i) at += decode_utf8(text, at).length;
  return text.substr(0, at);
}

// Reads digits at `at`.
std::optional<std::size_t> read_size(std::string_view text, std::size_t& at) {
  if (at >= text.size() || text[at] < '0' || text[at] > '9') return std::nullopt;
  std::size_t size = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    size = size * 10 + static_cast<std::size_t>(text[at] - '0');
    if (size > most_width) refuse("a format asks for more than {} characters", most_width);
  }
  return size;
}

// One value by a % conversion.
std::string converted(const Value& value, Layout layout, Budget& budget) {
  const char own_align = layout.align != 0 ? layout.align : '>';
  layout.align = own_align;
  const auto as_text = [&](std::string text) {
    if (layout.fill == "0") layout.fill = " ";
    if (layout.align == '=') layout.align = '>';
    return laid_out("", cut_text(std::move(text), layout), layout, '>');
  };
  switch (layout.type) {
    case 's':
      return as_text(text_of(value, budget));
    case 'r':
    case 'a':
      return as_text(repr(value, budget));
    case 'c': {
      if (value.text() != nullptr && value.text()->characters == 1) return as_text(value.text()->bytes);
      const auto code = value.integer();
      if (!code || *code < 0 || *code > 0x10FFFF || (*code >= 0xD800 && *code <= 0xDFFF)) {
        refuse("%c requires int or char");
      }
      std::string character;
      append_utf8(character, static_cast<char32_t>(*code));
      return as_text(character);
    }
    case 'd':
    case 'i':
    case 'u': {
      value.require_defined();
      if (const double* number = value.as<double>()) {
        if (!(std::abs(*number) < 9e18)) refuse("%d: the number {} is beyond 64 bits", *number);
        return whole_text(static_cast<std::int64_t>(*number), layout);
      }
      const auto number = value.integer();
      if (!number) refuse("%{} format: a real number is required, not {}", layout.type, value.type_name());
      return whole_text(*number, layout);
    }
    case 'x':
    case 'X':
    case 'o': {
      const auto number = value.require_defined().integer();
      if (!number) refuse("%{} format: an integer is required, not {}", layout.type, value.type_name());
      return whole_text(*number, layout);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
      const auto number = value.require_defined().real();
      if (!number) refuse("must be real number, not {}", value.type_name());
      return real_text(*number, layout);
    }
    default:
      refuse("unsupported format character '{}'", layout.type);
  }
}

// The parts of a replacement field's specification: [[fill]align][sign][#][0][width][,][.precision][type].
Layout parse_layout(std::string_view text) {
  Layout layout;
  std::size_t at = 0;
  const auto is_align = [&](std::size_t position) {
    return position < text.size() && std::string_view("<>^=").find(text[position]) != std::string_view::npos;
  };
  const std::size_t first = text.empty() ? 0 : decode_utf8(text, 0).length;
  if (!text.empty() && is_align(first)) {
    layout.fill = text.substr(0, first);
    layout.align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    layout.align = text[0];
    at = 1;
  }
  const auto skip = [&](char c) {
    if (at >= text.size() || text[at] != c) return false;
    ++at;
    return true;
  };
  for (const char sign : {'+', '-', ' '}) {
    if (skip(sign)) {
      layout.sign = sign;
      break;
    }
  }
  layout.alternate = skip('#');
  if (skip('0') && layout.align == 0) {
    layout.fill = "0";
    layout.align = '=';
  }
  layout.width = read_size(text, at).value_or(0);
  layout.grouped = skip(',');
  if (skip('.')) {
    layout.precision = read_size(text, at);
    if (!layout.precision) refuse("Format specifier missing precision");
  }
  if (at < text.size()) layout.type = text[at++];
  if (at < text.size()) refuse("Invalid format specifier '{}'", text);
  return layout;
}

std::string with_layout(const Value& value, std::string_view specification, Budget& budget) {
  if (specification.empty()) return text_of(value, budget);
  Layout layout = parse_layout(specification);
  budget.spend_on_text(layout.width);
  const bool is_real_type = std::string_view("eEfFgG%").find(layout.type) != std::string_view::npos && layout.type != 0;
  if (const auto whole = value.integer(); whole && !is_real_type) {
    if (layout.type != 0 && std::string_view("dxXob").find(layout.type) == std::string_view::npos) {
      refuse("Unknown format code '{}' for object of type 'int'", layout.type);
    }
    if (layout.precision) refuse("Precision not allowed in integer format specifier");
    return whole_text(*whole, layout);
  }
  if (value.is_number()) {
    if (layout.type == 0 && !layout.precision) {
      return laid_out(sign_of(std::signbit(*value.real()), layout), repr_of_real(std::abs(*value.real())), layout, '>');
    }
    if (layout.type == 0) layout.type = 'g';
    if (!is_real_type && layout.type != 'g') {
      refuse("Unknown format code '{}' for object of type 'float'", layout.type);
    }
    return real_text(*value.real(), layout);
  }
  if (value.text() == nullptr) refuse("unsupported format string passed to {}.__format__", value.type_name());
  if ((layout.type != 0 && layout.type != 's') || layout.align == '=') {
    refuse("Unknown format code '{}' for object of type 'str'", layout.type == 0 ? '=' : layout.type);
  }
  return laid_out("", cut_text(value.text()->bytes, layout), layout, '<');
}

// str.format's replacement fields.
class Braces {
 public:
  Braces(Interpreter& interpreter, const Arguments& arguments) : interpreter_(interpreter), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) refuse("Max string recursion exceeded");
    std::string text;
    for (std::size_t at = 0; at < format.size(); ++at) {
      const char c = format[at];
      if (c != '{' && c != '}') {
        text += c;
        continue;
      }
      if (at + 1 < format.size() && format[at + 1] == c) {
        text += c;
        ++at;
        continue;
      }
      if (c == '}') refuse("Single '}}' encountered in format string");
      const std::size_t end = end_of_field(format, at + 1);
      text += field(format.substr(at + 1, end - at - 1), depth);
      interpreter_.budget().spend_on_text(text.size());
      at = end;
    }
    return text;
  }

 private:
  static std::size_t end_of_field(std::string_view format, std::size_t at) {
    std::size_t open = 1;
    for (; at < format.size(); ++at) {
      if (format[at] == '{') ++open;
      if (format[at] == '}' && --open == 0) return at;
    }
    refuse("Single '{{' encountered in format string");
  }

  std::string field(std::string_view text, int depth) {
    const std::size_t colon = text.find(':');
    std::string_view name = text.substr(0, colon);
    const std::string specification = colon == std::string_view::npos ? "" : run(text.substr(colon + 1), depth + 1);
    char conversion = 0;
    if (const std::size_t mark = name.find('!'); mark != std::string_view::npos) {
      if (mark + 2 != name.size()) refuse("expected ':' after conversion specifier");
      conversion = name[mark + 1];
      name = name.substr(0, mark);
    }
    Value value = lookup(name);
    if (conversion == 's') value = Value(interpreter_.text(value));
    if (conversion == 'r' || conversion == 'a') value = Value(repr(value, interpreter_.budget()));
    return with_layout(value, specification, interpreter_.budget());
  }

  Value lookup(std::string_view name) {
    std::size_t at = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, at));
    while (at < name.size()) {
      const bool is_attribute = name[at] == '.';
      const std::size_t end =
          is_attribute ? std::min(name.find_first_of(".[", at + 1), name.size()) : name.find(']', at + 1);
      if (end == std::string_view::npos) refuse("Missing ']' in format string");
      const std::string part(name.substr(at + 1, end - at - 1));
      const auto index = is_attribute ? std::nullopt : parse_integer(part, 10);
      value = is_attribute ? interpreter_.attribute_of(value, part)
                           : interpreter_.item_of(value, index ? Value(*index) : Value(part));
      value.require_defined();
      at = is_attribute ? end : end + 1;
    }
    return value;
  }

  Value argument(std::string_view name) {
    const bool is_number = std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
    if (is_number) {
      const auto index = name.empty() ? static_cast<std::int64_t>(next_++) : parse_integer(name, 10).value_or(-1);
      if (index < 0 || index >= static_cast<std::int64_t>(arguments_.positional.size())) {
        refuse("Replacement index {} out of range for positional args tuple", index);
      }
      return arguments_.positional[static_cast<std::size_t>(index)];
    }
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return value;
    }
    refuse("str.format has no argument '{}'", name);
  }

  Interpreter& interpreter_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
};

}  // namespace

std::string format_percent(const Text& format, const Value& values, Budget& budget) {
  const Sequence* tuple = values.tuple();
  const std::vector<Value> items = tuple != nullptr ? tuple->items : std::vector<Value>{values};
  std::size_t next = 0;
  const auto take = [&]() -> const Value& {
    if (next >= items.size()) refuse("not enough arguments for format string");
    return items[next++];
  };
  const std::string& text = format.bytes;
  std::string result;
  bool by_name = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      result += text[at];
      continue;
    }
    ++at;
    std::optional<Value> named;
    if (at < text.size() && text[at] == '(') {
      const std::size_t end = text.find(')', at);
      if (end == std::string::npos) refuse("incomplete format key");
      if (values.dict() == nullptr) refuse("format requires a mapping");
      const std::string name = text.substr(at + 1, end - at - 1);
      const Value* found = values.dict()->find_text(name);
      if (found == nullptr) refuse("the format's key '{}' is missing", name);
      named = *found;
      by_name = true;
      at = end + 1;
    }
    Layout layout;
    bool is_left = false;
    bool has_zeros = false;
    for (; at < text.size() && std::string_view("-+ #0").find(text[at]) != std::string_view::npos; ++at) {
      is_left = is_left || text[at] == '-';
      has_zeros = has_zeros || text[at] == '0';
      layout.alternate = layout.alternate || text[at] == '#';
      if (text[at] == '+' || (text[at] == ' ' && layout.sign != '+')) layout.sign = text[at];
    }
    const auto size_at = [&]() -> std::optional<std::size_t> {
      if (at >= text.size() || text[at] != '*') return read_size(text, at);
      ++at;
      const auto size = take().integer();
      if (!size) refuse("* wants int");
      if (*size < 0 || *size > static_cast<std::int64_t>(most_width)) refuse("a format's width is out of range");
      return static_cast<std::size_t>(*size);
    };
    layout.width = size_at().value_or(0);
    if (at < text.size() && text[at] == '.') {
      ++at;
      layout.precision = size_at().value_or(0);
    }
    while (at < text.size() && (text[at] == 'l' || text[at] == 'h' || text[at] == 'L')) ++at;
    if (at >= text.size()) refuse("incomplete format");
    layout.type = text[at];
    if (layout.type == '%') {
      result += '%';
      continue;
    }
    layout.align = is_left ? '<' : has_zeros ? '=' : '>';
    if (has_zeros && !is_left) layout.fill = "0";
    budget.spend_on_text(layout.width + layout.precision.value_or(0));
    result += converted(named ? *named : take(), layout, budget);
    budget.spend_on_text(result.size());
  }
  // What can be indexed counts as a mapping, which may be left over.
  const bool is_mapping = tuple == nullptr && values.text() == nullptr && !values.is_none() && !values.is_number();
  const bool may_remain = by_name || is_mapping;
  if (next < items.size() && !may_remain) refuse("not all arguments converted during string formatting");
  return result;
}

std::string format_braces(Interpreter& interpreter, const Text& format, const Arguments& arguments) {
  return Braces(interpreter, arguments).run(format.bytes, 0);
}

}  // namespace mslt::jinja
