// Python's texts of values, and its operations on texts: str(), repr(), strip, split, upper and so on.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace mslt::jinja {

// str() and repr(). Throw Failure for what is too long or too deep.
std::string text_of(const Value& value, Budget& budget);
std::string repr(const Value& value, Budget& budget);
// repr() of a float: the shortest text that reads as the same number.
std::string repr_of_real(double number);

// str.isspace() of one character.
bool is_space(char32_t character);
// Whole texts of valid UTF-8. Case maps one character to one, but for the German sharp s.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);
bool is_cased_as(std::string_view text, bool upper_case);  // isupper() or islower()

// Without white space, or the characters in `characters`, at its ends.
enum class Side { both, left, right };
std::string_view strip(std::string_view text, Side side, const std::optional<std::string>& characters = std::nullopt);
// str.split(separator, most) and rsplit: at white space without a separator; negative `most`: everywhere.
std::vector<std::string> split(std::string_view text, const std::optional<std::string>& separator, std::int64_t most,
                               bool from_right);
// str.splitlines().
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
// str.replace(); negative `most`: all.
std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t most,
                    Budget& budget);
// The number of characters.
std::size_t count_of_characters(std::string_view text);

// int(text, base) and float(text), nothing where Python raises ValueError.
std::optional<std::int64_t> parse_integer(std::string_view text, int base);
std::optional<double> parse_real(std::string_view text);

}  // namespace mslt::jinja
