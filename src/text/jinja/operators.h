// Python's operators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace mslt::jinja {

// + - * / // % **. Throws Failure for types that have no such operator, for division by zero, and for integers beyond
// 64 bits.
Value calculate(const Value& left, std::string_view operation, const Value& right, Budget& budget);
Value signed_as(const Value& value, bool negative);
// == != < <= > >= in, not in.
bool holds(const Value& left, std::string_view operation, const Value& right, Budget& budget);
bool contains(const Value& container, const Value& value, Budget& budget);
// value[start:stop:step]; undefined for values that cannot be sliced, as in Jinja.
Value sliced(const Value& value, const Slice& slice, Budget& budget);
// The position of a Python index, which counts from the end if negative; nothing outside of `length`.
std::optional<std::size_t> position_in(std::int64_t index, std::size_t length);
// text + text, where one that is safe makes the other escaped.
Value joined_texts(const Text& left, const Text& right, Budget& budget);
std::string escaped(std::string_view text);

}  // namespace mslt::jinja
