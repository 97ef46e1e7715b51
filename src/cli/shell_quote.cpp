// Quoting for shells.
#include "cli/shell_quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/printable.h"

namespace mslt::cli {
namespace {

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_@%+=:,./-").find(c) != std::string_view::npos;
}

// Inside $'...', special bytes are written as three octal digits, which need no terminator.
std::string escaped_word(std::string_view argument) {
  std::string result = "$'";
  for (const char c : argument) {
    if (is_plain(c) || c == ' ') {
      result += c;
    } else {
      fmt::format_to(std::back_inserter(result), "\\{:03o}", static_cast<unsigned char>(c));
    }
  }
  return result + "'";
}

}  // namespace

std::string shell_quote(std::string_view argument) {
  if (argument.starts_with('-')) return shell_quote(fmt::format("./{}", argument));
  if (!argument.empty() && std::all_of(argument.begin(), argument.end(), is_plain)) return std::string(argument);
  if (printable(argument) != argument) return escaped_word(argument);
  std::string result = "'";
  for (const char c : argument) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c;
    }
  }
  return result + "'";
}

}  // namespace mslt::cli
