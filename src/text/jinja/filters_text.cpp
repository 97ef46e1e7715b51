// Filters on texts.
#include <algorithm>
#include <array>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

Value safe_text(std::string text) {
  return Value(std::make_shared<const Text>(std::move(text), true));
}

Value filter_upper(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("upper", arguments, {});
  return Value(upper(interpreter.text(value)));
}

Value filter_lower(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("lower", arguments, {});
  return Value(lower(interpreter.text(value)));
}

Value filter_capitalize(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("capitalize", arguments, {});
  return Value(capitalize(interpreter.text(value)));
}

// Unlike str.title(), words begin behind white space, dashes and opening brackets only.
Value filter_title(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("title", arguments, {});
  const std::string text = interpreter.text(value);
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const auto separates = [&](std::size_t position) {
      return text[position] == '-' || text[position] == '(' || text[position] == '{' || text[position] == '[' ||
             text[position] == '<' || is_space(decode_utf8(text, position).code_point);
    };
    std::size_t end = at;
    const bool is_separator = separates(at);
    while (end < text.size() && separates(end) == is_separator) end += decode_utf8(text, end).length;
    const std::size_t first = decode_utf8(text, at).length;
    result += upper(std::string_view(text).substr(at, first));
    result += lower(std::string_view(text).substr(at + first, end - at - first));
    at = end;
  }
  return Value(std::move(result));
}

Value filter_trim(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("trim", arguments, {"chars"});
  const std::string text = interpreter.text(value);
  return Value(strip(text, Side::both, bound.optional_text(0)));
}

Value filter_replace(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  const std::int64_t count = bound.has(2) && !bound[2].is_none() ? bound.integer(2, -1) : -1;
  return Value(replace(interpreter.text(value), interpreter.text(bound[0]), interpreter.text(bound[1]), count,
                       interpreter.budget()));
}

Value filter_string(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("string", arguments, {});
  return value.text() != nullptr ? value : Value(interpreter.text(value));
}

Value filter_safe(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("safe", arguments, {});
  return safe_text(interpreter.text(value));
}

Value filter_escape(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("escape", arguments, {});
  if (value.text() != nullptr && value.text()->is_safe) return value;
  return safe_text(escaped(interpreter.text(value)));
}

Value filter_forceescape(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("forceescape", arguments, {});
  return safe_text(escaped(interpreter.text(value)));
}

Value filter_indent(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"});
  const Text* text = value.require_defined().text();
  if (text == nullptr) refuse("indent needs a str, not '{}'", value.type_name());
  std::string indention(4, ' ');
  if (bound.has(0) && bound[0].text() != nullptr) {
    indention = bound[0].text()->bytes;
  } else if (bound.has(0)) {
    const std::int64_t width = std::max<std::int64_t>(bound.integer(0, 4), 0);
    interpreter.budget().spend_on_product(1, static_cast<std::size_t>(width));
    indention.assign(static_cast<std::size_t>(width), ' ');
  }
  const std::vector<std::string> lines = split_lines(text->bytes + "\n", false);
  interpreter.budget().spend_on_text(text->bytes.size());
  interpreter.budget().spend_on_product(indention.size() + 1, lines.size());
  const bool also_blank = bound.flag(2, false);
  std::string result = bound.flag(1, false) ? indention : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result += '\n';
    if (i > 0 && (also_blank || !lines[i].empty())) result += indention;
    result += lines[i];
  }
  return Value(std::move(result));
}

Value filter_format(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty()) {
    refuse("format can't handle positional and keyword arguments at the same time");
  }
  const Text format(interpreter.text(value));
  if (arguments.named.empty()) {
    return Value(format_percent(format, interpreter.tuple(arguments.positional), interpreter.budget()));
  }
  Dict dict;
  for (const auto& [name, argument] : arguments.named) dict.set(Value(name), argument, interpreter.budget());
  return Value(format_percent(format, Value(std::make_shared<const Dict>(std::move(dict))), interpreter.budget()));
}

Value filter_center(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("center", arguments, {"width"});
  const std::string text = interpreter.text(value);
  const std::size_t length = count_of_characters(text);
  constexpr std::int64_t usual = 80;
  const std::int64_t width = bound.integer(0, usual);
  if (width <= static_cast<std::int64_t>(length)) return Value(text);
  interpreter.budget().spend_on_product(1, static_cast<std::size_t>(width));
  const std::size_t pad = static_cast<std::size_t>(width) - length;
  const std::size_t left = pad / 2 + (pad & static_cast<std::size_t>(width) & 1);
  return Value(std::string(left, ' ') + text + std::string(pad - left, ' '));
}

Value filter_wordcount(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("wordcount", arguments, {});
  const std::string text = interpreter.text(value);
  std::int64_t words = 0;
  bool in_word = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    at += character.length;
    constexpr unicode::ClassMask word =
        unicode::other_letter | unicode::upper_letter | unicode::lower_letter | unicode::number;
    const bool is_word = character.code_point == '_' || (unicode::class_of(character.code_point) & word) != 0;
    if (is_word && !in_word) ++words;
    in_word = is_word;
  }
  return Value(words);
}

Value filter_truncate(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Text* text = value.text();
  constexpr std::int64_t usual_length = 255;
  constexpr std::int64_t usual_leeway = 5;
  const std::int64_t length = bound.integer(0, usual_length);
  const Text end(bound.has(2) ? bound.text(2) : "...");
  const std::int64_t leeway = bound.has(3) && !bound[3].is_none() ? bound.integer(3, 0) : usual_leeway;
  const auto end_length = static_cast<std::int64_t>(end.characters);
  if (length < end_length) refuse("expected length >= {}, got {}", end_length, length);
  if (leeway < 0) refuse("expected leeway >= 0, got {}", leeway);
  const auto characters = static_cast<std::int64_t>(length_of(value));
  if (characters <= length || characters - length <= leeway) return value;
  if (text == nullptr) refuse("truncate needs a str, not '{}'", value.type_name());
  const Value kept = sliced(value, {Value(), Value(length - end_length), Value()}, interpreter.budget());
  if (bound.flag(1, false)) return Value(kept.text()->bytes + end.bytes);
  return Value(split(kept.text()->bytes, " ", 1, true).front() + end.bytes);
}

Value filter_urlencode(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Bound bound("urlencode", arguments, {});
  const auto quoted = [&](const Value& part, bool is_query) {
    std::string result;
    for (const char c : interpreter.text(part)) {
      const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-' ||
                            c == '~' || (c == '/' && !is_query);
      if (is_plain) {
        result += c;
      } else if (c == ' ' && is_query) {
        result += '+';
      } else {
        result += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
      }
    }
    return result;
  };
  if (value.text() != nullptr || !is_iterable(value)) return Value(quoted(value, false));
  const Value pairs = value.dict() != nullptr ? interpreter.apply_filter("items", value, {}) : value;
  std::string result;
  for (const Value& pair : elements_of(pairs, interpreter.budget())) {
    const std::vector<Value> parts = elements_of(pair, interpreter.budget());
    if (parts.size() != 2) refuse("urlencode needs pairs");
    result += (result.empty() ? "" : "&") + quoted(parts[0], true) + "=" + quoted(parts[1], true);
    interpreter.budget().spend_on_text(result.size());
  }
  return Value(std::move(result));
}

constexpr std::array<BuiltinEntry, 18> entries = {{
    {"capitalize", filter_capitalize},
    {"center", filter_center},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"forceescape", filter_forceescape},
    {"format", filter_format},
    {"indent", filter_indent},
    {"lower", filter_lower},
    {"replace", filter_replace},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", filter_title},
    {"tojson", tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", filter_upper},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
}};

}  // namespace

std::optional<Builtin> text_filter(std::string_view name) {
  const auto* found = std::ranges::find(entries, name, &BuiltinEntry::first);
  return found == entries.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace mslt::jinja
