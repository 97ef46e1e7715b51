// Navigating a unit's tokens.
#include "mslc/syntax.h"

#include <algorithm>
#include <string>

namespace mslt::mslc {
namespace {

bool opens(const Token& token) {
  return token.is("(") || token.is("[") || token.is("{");
}
bool closes(const Token& token) {
  return token.is(")") || token.is("]") || token.is("}");
}

}  // namespace

bool Variable::has(const Unit& unit, std::string_view word) const {
  const auto begin = unit.tokens.begin() + static_cast<std::ptrdiff_t>(type.begin);
  const auto end = unit.tokens.begin() + static_cast<std::ptrdiff_t>(type.end);
  return std::any_of(begin, end, [&](const Token& token) { return token.is(word); });
}

const Struct* Syntax::find_struct(std::string_view name) const {
  const auto found = std::find_if(structs.begin(), structs.end(), [&](const Struct& s) { return s.name == name; });
  return found == structs.end() ? nullptr : &*found;
}

std::string Syntax::text(Range range) const {
  std::string text;
  for (std::size_t i = range.begin; i < range.end; ++i) {
    if (i != range.begin && token(i).space_before) {
      text += ' ';
    }
    text += token(i).text;
  }
  return text;
}

std::size_t matching(const Unit& unit, std::size_t open) {
  std::size_t depth = 0;
  for (std::size_t i = open; i < unit.tokens.size(); ++i) {
    const Token& token = unit.tokens[i];
    if (opens(token)) {
      ++depth;
    } else if (closes(token) && --depth == 0) {
      return i;
    }
  }
  return unit.tokens.size() - 1;
}

std::size_t matching_angle(const Unit& unit, std::size_t open, std::size_t limit) {
  std::size_t depth = 0;
  for (std::size_t i = open; i < limit; ++i) {
    const Token& token = unit.tokens[i];
    if (token.is("<")) {
      ++depth;
    } else if (token.is(">")) {
      if (--depth == 0) {
        return i;
      }
    } else if (token.is("(") || token.is("[")) {
      i = matching(unit, i);
    } else if (token.is(";") || token.is("{") || closes(token) || token.is("&&") || token.is("||")) {
      return limit;
    }
  }
  return limit;
}

std::vector<Range> split_at_commas(const Unit& unit, Range range) {
  std::vector<Range> parts;
  if (range.empty()) {
    return parts;
  }
  Range part{range.begin, range.begin};
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const Token& token = unit.tokens[i];
    if (opens(token)) {
      i = std::min(matching(unit, i), range.end - 1);
    } else if (token.is("<")) {
      const std::size_t close = matching_angle(unit, i, range.end);
      i = close < range.end ? close : i;
    } else if (token.is(",")) {
      part.end = i;
      parts.push_back(part);
      part.begin = i + 1;
    }
  }
  part.end = range.end;
  parts.push_back(part);
  return parts;
}

bool is_address_space(std::string_view word) {
  return word == "device" || word == "constant" || word == "threadgroup" || word == "thread";
}

}  // namespace mslt::mslc
