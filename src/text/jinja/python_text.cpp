// Python's operations on texts.
#include "text/jinja/python_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "text/lowercase_table.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt::jinja {
namespace {

template <class Map>
std::string map_characters(std::string_view text, const Map& map) {
  std::string mapped;
  mapped.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    map(character.code_point, mapped);
    at += character.length;
  }
  return mapped;
}

// The character whose simple lowercase form this is; itself if there is none.
char32_t uppercase_of(char32_t character) {
  if (character < 0x80) return character >= 'a' && character <= 'z' ? character - 32 : character;
  if (character == 0xB5) return 0x39C;   // micro sign: capital mu
  if (character == 0x131) return 'I';    // dotless i
  if (character == 0x17F) return 'S';    // long s
  if (character == 0x3C2) return 0x3A3;  // final sigma
  if (lowercase_of(character) != character) return character;
  for (std::size_t i = 0; i < lowercase_range_count; ++i) {
    const LowercaseRange& range = lowercase_ranges[i];
    const std::int64_t upper = static_cast<std::int64_t>(character) - range.distance;
    // Dotted capital I and the Kelvin and Angstrom signs share the lowercase of other letters.
    if (upper == 0x130 || upper == 0x212A || upper == 0x212B || upper == 0x2126) continue;
    if (upper < range.first || upper > range.last) continue;
    if ((upper - static_cast<std::int64_t>(range.first)) % range.step == 0) return static_cast<char32_t>(upper);
  }
  return character;
}

constexpr char32_t sharp_s = 0xDF;

// The first letter of a word.
void append_title(char32_t character, std::string& text) {
  if (character == sharp_s) {
    text += "Ss";
  } else {
    append_utf8(text, uppercase_of(character));
  }
}

void append_upper(char32_t character, std::string& text) {
  if (character == sharp_s) {
    text += "SS";
  } else {
    append_utf8(text, uppercase_of(character));
  }
}

void append_lower(char32_t character, std::string& text) {
  constexpr char32_t dotted_capital_i = 0x130;
  append_utf8(text, lowercase_of(character));
  if (character == dotted_capital_i) append_utf8(text, 0x307);
}

bool is_letter_with_case(char32_t character) {
  return (unicode::class_of(character) & (unicode::upper_letter | unicode::lower_letter)) != 0;
}

// The lowercase of the character at `at`, which for a capital sigma at the end of a word has a form of its own.
void append_lower_at(std::string_view text, std::size_t at, std::string& mapped) {
  constexpr char32_t capital_sigma = 0x3A3;
  constexpr char32_t final_sigma = 0x3C2;
  const Utf8Result character = decode_utf8(text, at);
  if (character.code_point == capital_sigma) {
    const std::size_t next = at + character.length;
    const bool follows = at > 0 && is_letter_with_case(character_before(text, at));
    const bool goes_on = next < text.size() && is_letter_with_case(decode_utf8(text, next).code_point);
    if (follows && !goes_on) {
      append_utf8(mapped, final_sigma);
      return;
    }
  }
  append_lower(character.code_point, mapped);
}

bool is_line_end(char32_t character) {
  return (character >= 0x0A && character <= 0x0D) || (character >= 0x1C && character <= 0x1E) || character == 0x85 ||
         character == 0x2028 || character == 0x2029;
}

std::size_t space_at_start(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Result character = decode_utf8(text, at);
    if (!is_space(character.code_point)) break;
    at += character.length;
  }
  return at;
}

std::string_view without_space_at_end(std::string_view text) {
  while (!text.empty()) {
    const std::size_t start = start_of_character_before(text, text.size());
    if (!is_space(decode_utf8(text, start).code_point)) break;
    text = text.substr(0, start);
  }
  return text;
}

std::vector<std::string> split_at_space(std::string_view text, std::int64_t most) {
  std::vector<std::string> parts;
  text.remove_prefix(space_at_start(text));
  while (!text.empty()) {
    if (most == 0) {
      parts.emplace_back(text);
      break;
    }
    --most;
    std::size_t end = 0;
    while (end < text.size()) {
      const Utf8Result character = decode_utf8(text, end);
      if (is_space(character.code_point)) break;
      end += character.length;
    }
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
    text.remove_prefix(space_at_start(text));
  }
  return parts;
}

std::vector<std::string> split_at_space_from_right(std::string_view text, std::int64_t most) {
  std::vector<std::string> parts;
  text = without_space_at_end(text);
  while (!text.empty()) {
    if (most == 0) {
      parts.emplace_back(text);
      break;
    }
    --most;
    std::size_t start = text.size();
    while (start > 0) {
      const std::size_t before = start_of_character_before(text, start);
      if (is_space(decode_utf8(text, before).code_point)) break;
      start = before;
    }
    parts.emplace_back(text.substr(start));
    text = without_space_at_end(text.substr(0, start));
  }
  std::ranges::reverse(parts);
  return parts;
}

// Python allows one underscore between digits.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
      continue;
    }
    const auto is_digit = [&](std::size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return std::nullopt;
  }
  return digits;
}

}  // namespace

std::string repr_of_real(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific);
  std::string_view scientific(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  std::string sign;
  if (scientific.starts_with('-')) {
    sign = "-";
    scientific.remove_prefix(1);
  }
  const std::size_t mark = scientific.find('e');
  std::string digits;
  for (const char digit : scientific.substr(0, mark)) {
    if (digit != '.') digits += digit;
  }
  const int exponent = std::atoi(std::string(scientific.substr(mark + 1)).c_str());
  constexpr int least = -4;
  constexpr int most = 16;
  if (exponent < least || exponent >= most) {
    std::string mantissa = digits.substr(0, 1);
    if (digits.size() > 1) mantissa += "." + digits.substr(1);
    return fmt::format("{}{}e{}{:02}", sign, mantissa, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

bool is_space(char32_t character) {
  return (character >= 0x09 && character <= 0x0D) || (character >= 0x1C && character <= 0x20) || character == 0x85 ||
         character == 0xA0 || character == 0x1680 || (character >= 0x2000 && character <= 0x200A) ||
         character == 0x2028 || character == 0x2029 || character == 0x202F || character == 0x205F ||
         character == 0x3000;
}

std::string upper(std::string_view text) {
  return map_characters(text, append_upper);
}

std::string lower(std::string_view text) {
  std::string mapped;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text, at).length) append_lower_at(text, at, mapped);
  return mapped;
}

std::string capitalize(std::string_view text) {
  std::string mapped;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text, at).length) {
    if (at == 0) {
      append_title(decode_utf8(text, at).code_point, mapped);
    } else {
      append_lower_at(text, at, mapped);
    }
  }
  return mapped;
}

std::string title(std::string_view text) {
  std::string mapped;
  bool in_word = false;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text, at).length) {
    const char32_t character = decode_utf8(text, at).code_point;
    if (in_word) {
      append_lower_at(text, at, mapped);
    } else {
      append_title(character, mapped);
    }
    in_word = is_letter_with_case(character);
  }
  return mapped;
}

bool is_cased_as(std::string_view text, bool upper_case) {
  bool has_case = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    at += character.length;
    const unicode::ClassMask kind = unicode::class_of(character.code_point);
    if ((kind & (upper_case ? unicode::lower_letter : unicode::upper_letter)) != 0) return false;
    has_case = has_case || is_letter_with_case(character.code_point);
  }
  return has_case;
}

std::string_view strip(std::string_view text, Side side, const std::optional<std::string>& characters) {
  const auto goes = [&](std::size_t at) {
    const Utf8Result character = decode_utf8(text, at);
    if (!characters) return is_space(character.code_point);
    return characters->find(text.substr(at, character.length)) != std::string::npos;
  };
  while (side != Side::right && !text.empty() && goes(0)) text.remove_prefix(decode_utf8(text, 0).length);
  while (side != Side::left && !text.empty()) {
    const std::size_t last = start_of_character_before(text, text.size());
    if (!goes(last)) break;
    text = text.substr(0, last);
  }
  return text;
}

std::vector<std::string> split(std::string_view text, const std::optional<std::string>& separator, std::int64_t most,
                               bool from_right) {
  if (!separator) return from_right ? split_at_space_from_right(text, most) : split_at_space(text, most);
  if (separator->empty()) refuse("empty separator");
  std::vector<std::string> parts;
  if (from_right) {
    for (; most != 0; --most) {
      const std::size_t found = text.rfind(*separator);
      if (found == std::string_view::npos) break;
      parts.emplace_back(text.substr(found + separator->size()));
      text = text.substr(0, found);
    }
    parts.emplace_back(text);
    std::ranges::reverse(parts);
    return parts;
  }
  for (; most != 0; --most) {
    const std::size_t found = text.find(*separator);
    if (found == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, found));
    text.remove_prefix(found + separator->size());
  }
  parts.emplace_back(text);
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Result character = decode_utf8(text, at);
    std::size_t next = at + character.length;
    if (is_line_end(character.code_point)) {
      if (character.code_point == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.emplace_back(text.substr(start, (keep_ends ? next : at) - start));
      start = next;
    }
    at = next;
  }
  if (start < text.size()) lines.emplace_back(text.substr(start));
  return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                    Budget& budget) {
  std::string replaced;
  const auto check = [&] {
    if (replaced.size() > budget.limits().output_bytes) budget.spend_on_text(replaced.size());
  };
  std::size_t at = 0;
  if (from.empty()) {
    // Before each character and at the end.
    while (most != 0) {
      --most;
      replaced += to;
      check();
      if (at == text.size()) break;
      const std::size_t length = decode_utf8(text, at).length;
      replaced += text.substr(at, length);
      at += length;
    }
  } else {
    for (; most != 0; --most) {
      const std::size_t found = text.find(from, at);
      if (found == std::string_view::npos) break;
      replaced += text.substr(at, found - at);
      replaced += to;
      check();
      at = found + from.size();
    }
  }
  replaced += text.substr(std::min(at, text.size()));
  budget.spend_on_text(text.size() + replaced.size());
  return replaced;
}

std::size_t count_of_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char byte) { return !continues_character(byte); }));
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text, Side::both);
  bool negative = false;
  if (text.starts_with('+') || text.starts_with('-')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const auto prefix = [&](char lower_case, int of_base) {
    if (text.size() < 2 || text[0] != '0' || (text[1] | 0x20) != lower_case) return false;
    return base == of_base || base == 0;
  };
  for (const auto& [letter, of_base] : {std::pair{'x', 16}, std::pair{'o', 8}, std::pair{'b', 2}}) {
    if (!prefix(letter, of_base)) continue;
    base = of_base;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    break;
  }
  constexpr int decimal = 10;
  if (base == 0) base = decimal;
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || base < 2 || base > 36) return std::nullopt;
  std::int64_t number = 0;
  const std::string signed_digits = (negative ? "-" : "") + *digits;
  const char* end = signed_digits.data() + signed_digits.size();
  const auto [stop, error] = std::from_chars(signed_digits.data(), end, number, base);
  if (error == std::errc::result_out_of_range) refuse("the integer {} is beyond 64 bits", signed_digits);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<double> parse_real(std::string_view text) {
  text = strip(text, Side::both);
  auto digits = without_underscores(text);
  if (!digits) return std::nullopt;
  std::string_view rest = *digits;
  bool negative = false;
  if (rest.starts_with('+') || rest.starts_with('-')) {
    negative = rest.front() == '-';
    rest.remove_prefix(1);
  }
  if (rest.empty() || rest.front() == '+' || rest.front() == '-') return std::nullopt;
  const std::string name = lower(rest);
  double number = 0.0;
  if (name == "inf" || name == "infinity") {
    number = HUGE_VAL;
  } else if (name == "nan") {
    number = std::nan("");
  } else {
    if (name.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
    char* stop = nullptr;
    // Not from_chars, which libc++ lacks for floating point. The program never leaves the "C" locale.
    number = std::strtod(name.c_str(), &stop);
    if (stop != name.c_str() + name.size()) return std::nullopt;
  }
  return negative ? -number : number;
}

}  // namespace mslt::jinja
