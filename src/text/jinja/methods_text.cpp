// The methods of Python's str.
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

const std::string& bytes_of(const Value& self) {
  return self.text()->bytes;
}

template <std::string (*change)(std::string_view)>
Value changed_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("str method", arguments, {});
  interpreter.budget().spend_on_text(bytes_of(self).size());
  return Value(change(bytes_of(self)));
}

template <Side side>
Value stripped(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("strip", arguments, {"chars"});
  interpreter.budget().spend_on_text(bytes_of(self).size());
  return Value(strip(bytes_of(self), side, bound.optional_text(0)));
}

Value texts(Interpreter& interpreter, std::vector<std::string> parts) {
  interpreter.budget().spend(parts.size());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (std::string& part : parts) items.emplace_back(std::move(part));
  return interpreter.list(std::move(items));
}

template <bool from_right>
Value split_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound(from_right ? "rsplit" : "split", arguments, {"sep", "maxsplit"});
  interpreter.budget().spend_on_text(bytes_of(self).size());
  return texts(interpreter, split(bytes_of(self), bound.optional_text(0), bound.integer(1, -1), from_right));
}

Value split_into_lines(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("splitlines", arguments, {"keepends"});
  interpreter.budget().spend_on_text(bytes_of(self).size());
  return texts(interpreter, split_lines(bytes_of(self), bound.flag(0, false)));
}

template <bool from_right>
Value partitioned(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("partition", arguments, {"sep"}, 1);
  const std::string separator = bound.text(0);
  if (separator.empty()) refuse("empty separator");
  const std::string& text = bytes_of(self);
  interpreter.budget().spend_on_text(text.size());
  const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    return from_right ? interpreter.tuple({Value(""), Value(""), self})
                      : interpreter.tuple({self, Value(""), Value("")});
  }
  return interpreter.tuple({Value(text.substr(0, at)), Value(separator), Value(text.substr(at + separator.size()))});
}

Value replaced(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  return Value(replace(bytes_of(self), bound.text(0), bound.text(1), bound.integer(2, -1), interpreter.budget()));
}

// The part of `self` from argument 1 to argument 2, and the characters before it.
std::pair<std::string, std::size_t> part_of(Interpreter& interpreter, const Value& self, const Bound& bound) {
  const Slice slice{bound.value(1, Value()), bound.value(2, Value()), Value()};
  const Value part = sliced(self, slice, interpreter.budget());
  const std::vector<std::size_t> positions = slice_positions(slice, self.text()->characters, interpreter.budget());
  return {part.text()->bytes, positions.empty() ? 0 : positions.front()};
}

template <bool at_end>
Value begins_or_ends(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound(at_end ? "endswith" : "startswith", arguments, {"prefix", "start", "end"}, 1);
  const std::string text = part_of(interpreter, self, bound).first;
  std::vector<Value> affixes;
  if (const Sequence* several = bound[0].tuple()) {
    affixes = several->items;
  } else {
    affixes.push_back(bound[0]);
  }
  for (const Value& affix : affixes) {
    affix.require_defined();
    if (affix.text() == nullptr) {
      refuse("{} first arg must be str or a tuple of str, not {}", at_end ? "endswith" : "startswith",
             affix.type_name());
    }
    const std::string& bytes = affix.text()->bytes;
    if (at_end ? text.ends_with(bytes) : text.starts_with(bytes)) return Value(true);
  }
  return Value(false);
}

// find, rfind, index and rindex.
template <bool from_right, bool must_be>
Value found_at(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("find", arguments, {"sub", "start", "end"}, 1);
  const std::string wanted = bound.text(0);
  const auto [text, offset] = part_of(interpreter, self, bound);
  const std::size_t at = from_right ? text.rfind(wanted) : text.find(wanted);
  if (at == std::string::npos) {
    if (must_be) refuse("substring not found");
    return Value(-1);
  }
  return Value::size(offset + count_of_characters(std::string_view(text).substr(0, at)));
}

Value counted(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("count", arguments, {"sub", "start", "end"}, 1);
  const std::string wanted = bound.text(0);
  const std::string text = part_of(interpreter, self, bound).first;
  if (wanted.empty()) return Value::size(count_of_characters(text) + 1);
  std::int64_t count = 0;
  for (std::size_t at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + wanted.size())) ++count;
  return Value(count);
}

Value joined(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("join", arguments, {"iterable"}, 1);
  std::string text;
  std::size_t i = 0;
  for (const Value& item : elements_of(bound[0].require_defined(), interpreter.budget())) {
    if (item.text() == nullptr) refuse("sequence item {}: expected str instance, {} found", i, item.type_name());
    if (i++ > 0) text += bytes_of(self);
    text += item.text()->bytes;
    if (text.size() > interpreter.budget().limits().output_bytes) interpreter.budget().spend_on_text(text.size());
  }
  interpreter.budget().spend_on_text(text.size());
  return Value(std::move(text));
}

template <bool at_end>
Value without_affix(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound(at_end ? "removesuffix" : "removeprefix", arguments, {"affix"}, 1);
  const std::string affix = bound.text(0);
  const std::string& text = bytes_of(self);
  interpreter.budget().spend_on_text(text.size());
  if (at_end) return Value(text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text);
  return Value(text.starts_with(affix) ? text.substr(affix.size()) : text);
}

enum class Place { left, right, middle };

template <Place place>
Value padded(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("ljust", arguments, {"width", "fillchar"}, 1);
  const Text fill(bound.has(1) ? bound.text(1) : " ");
  if (fill.characters != 1) refuse("The fill character must be exactly one character long");
  const std::int64_t width = bound.integer(0, 0);
  const std::size_t length = self.text()->characters;
  if (width <= static_cast<std::int64_t>(length)) return self;
  const std::size_t pad = static_cast<std::size_t>(width) - length;
  interpreter.budget().spend_on_product(fill.bytes.size(), static_cast<std::size_t>(width));
  const auto filling = [&](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += fill.bytes;
    return text;
  };
  const std::size_t left = place == Place::left    ? 0
                           : place == Place::right ? pad
                                                   : pad / 2 + (pad & static_cast<std::size_t>(width) & 1);
  return Value(filling(left) + bytes_of(self) + filling(pad - left));
}

Value with_zeros(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("zfill", arguments, {"width"}, 1);
  const std::int64_t width = bound.integer(0, 0);
  const std::string& text = bytes_of(self);
  const std::size_t length = self.text()->characters;
  if (width <= static_cast<std::int64_t>(length)) return self;
  interpreter.budget().spend_on_product(1, static_cast<std::size_t>(width));
  const std::size_t sign = text.starts_with('+') || text.starts_with('-') ? 1 : 0;
  return Value(text.substr(0, sign) + std::string(static_cast<std::size_t>(width) - length, '0') + text.substr(sign));
}

// Whether there is a character and all are of the kind.
template <bool (*is_of_kind)(char32_t)>
Value all_are(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("str test", arguments, {});
  const std::string& text = bytes_of(self);
  interpreter.budget().spend_on_text(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    if (!is_of_kind(character.code_point)) return Value(false);
    at += character.length;
  }
  return Value(!text.empty());
}

constexpr unicode::ClassMask letter = unicode::other_letter | unicode::upper_letter | unicode::lower_letter;

bool is_letter(char32_t character) {
  return (unicode::class_of(character) & letter) != 0;
}
bool is_decimal_digit(char32_t character) {
  // Other digits than ASCII's are numbers, too; few of Unicode's numbers are not digits.
  return character < 0x80 ? character >= '0' && character <= '9'
                          : (unicode::class_of(character) & unicode::number) != 0;
}
bool is_letter_or_digit(char32_t character) {
  return is_letter(character) || is_decimal_digit(character);
}
bool is_ascii(char32_t character) {
  return character < 0x80;
}

template <bool upper_case>
Value is_in_case(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Bound bound("isupper", arguments, {});
  interpreter.budget().spend_on_text(bytes_of(self).size());
  return Value(is_cased_as(bytes_of(self), upper_case));
}

std::string swap_case(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = decode_utf8(text, at).length;
    const std::string_view character = text.substr(at, length);
    result += is_cased_as(character, true) ? lower(character) : upper(character);
    at += length;
  }
  return result;
}

Value formatted(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  return Value(format_braces(interpreter, *self.text(), arguments));
}

constexpr std::array<BuiltinEntry, 39> methods = {{
    {"capitalize", changed_text<capitalize>},
    {"casefold", changed_text<lower>},
    {"center", padded<Place::middle>},
    {"count", counted},
    {"endswith", begins_or_ends<true>},
    {"find", found_at<false, false>},
    {"format", formatted},
    {"index", found_at<false, true>},
    {"isalnum", all_are<is_letter_or_digit>},
    {"isalpha", all_are<is_letter>},
    {"isascii", all_are<is_ascii>},
    {"isdecimal", all_are<is_decimal_digit>},
    {"isdigit", all_are<is_decimal_digit>},
    {"islower", is_in_case<false>},
    {"isnumeric", all_are<is_decimal_digit>},
    {"isspace", all_are<is_space>},
    {"isupper", is_in_case<true>},
    {"join", joined},
    {"ljust", padded<Place::left>},
    {"lower", changed_text<lower>},
    {"lstrip", stripped<Side::left>},
    {"partition", partitioned<false>},
    {"removeprefix", without_affix<false>},
    {"removesuffix", without_affix<true>},
    {"replace", replaced},
    {"rfind", found_at<true, false>},
    {"rindex", found_at<true, true>},
    {"rjust", padded<Place::right>},
    {"rpartition", partitioned<true>},
    {"rsplit", split_text<true>},
    {"rstrip", stripped<Side::right>},
    {"split", split_text<false>},
    {"splitlines", split_into_lines},
    {"startswith", begins_or_ends<false>},
    {"strip", stripped<Side::both>},
    {"swapcase", changed_text<swap_case>},
    {"title", changed_text<title>},
    {"upper", changed_text<upper>},
    {"zfill", with_zeros},
}};

}  // namespace

std::optional<Builtin> text_method(std::string_view name) {
  const auto* found = std::ranges::find(methods, name, &BuiltinEntry::first);
  return found == methods.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace mslt::jinja
