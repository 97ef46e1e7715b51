// Maps lines of the flattened source back to lines of the .metal files.
#include "backend/msl/drivers/metal/compile_log.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>

namespace mslt::msl::metal {
namespace {

constexpr std::string_view whole_text = "program_source:";
constexpr std::string_view directive = "#line ";

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

// Removes the number at the beginning of `text` and returns it; 0 if there is none.
std::uint64_t take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return result.ec == std::errc() ? number : 0;
}

// "kernels/norm.metal:12" for a line of the whole text, counted from 1; empty if no directive precedes it.
std::string file_and_line(std::string_view source, std::uint64_t wanted) {
  std::string_view file;
  std::uint64_t line = 0;
  for (std::uint64_t number = 1; number <= wanted && !source.empty(); ++number) {
    std::string_view text = take_line(source);
    if (text.starts_with(directive)) {
      text.remove_prefix(directive.size());
      line = take_number(text);
      const std::size_t open = text.find('"');
      const std::size_t close = text.rfind('"');
      if (open < close) file = text.substr(open + 1, close - open - 1);
    } else if (number == wanted) {
      return file.empty() ? std::string() : fmt::format("{}:{}", file, line);
    } else {
      ++line;
    }
  }
  return {};
}

std::string located(std::string_view line, std::string_view source) {
  if (!line.starts_with(whole_text)) return std::string(line);
  std::string_view rest = line.substr(whole_text.size());
  const std::string place = file_and_line(source, take_number(rest));
  return place.empty() ? std::string(line) : place + std::string(rest);
}

}  // namespace

std::string compile_errors(std::string_view log, std::string_view source, std::size_t most) {
  std::string errors;
  std::size_t count = 0;
  for (std::string_view rest = log; !rest.empty();) {
    const std::string_view line = take_line(rest);
    if (line.find("error: ") == std::string_view::npos || ++count > most) continue;
    if (!errors.empty()) errors += '\n';
    errors += located(line, source);
  }
  if (count == 0) return std::string(log);
  if (count > most) errors += fmt::format("\nand {} more", count - most);
  return errors;
}

}  // namespace mslt::msl::metal
