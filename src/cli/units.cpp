// Formatting of bytes, counts and durations.
#include "cli/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace mslt::cli {
namespace {

std::string scaled(double value, std::string_view unit) {
  constexpr std::array<std::string_view, 6> prefixes = {"", "k", "M", "G", "T", "P"};
  std::size_t power = 0;
  while (std::abs(value) >= 999.5 && power + 1 < prefixes.size()) {
    value /= 1000.0;
    ++power;
  }
  const std::string number = power == 0      ? fmt::format("{:.0f}", value)
                             : value < 9.995 ? fmt::format("{:.2f}", value)
                             : value < 99.95 ? fmt::format("{:.1f}", value)
                                             : fmt::format("{:.0f}", value);
  const std::string suffix = fmt::format("{}{}", prefixes[power], unit);
  return suffix.empty() ? number : number + " " + suffix;
}

}  // namespace

std::string format_bytes(double bytes) {
  return scaled(bytes, "B");
}

std::string format_count(double count) {
  return scaled(count, "");
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "unknown";
  if (seconds < 1.0) return fmt::format("{:.0f} ms", seconds * 1000.0);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace mslt::cli
