// Patterns of dates, times, addresses and the like.
#include "grammar/string_formats.h"

namespace mslt {
namespace {

constexpr std::string_view date_pattern =
    "(?:(?:[1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|"
    "(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|"
    "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)";
constexpr std::string_view time_pattern =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";

}  // namespace

std::optional<std::string> format_pattern(std::string_view name) {
  const auto whole = [](std::string_view pattern) {
    return "^(?:" + std::string(pattern) + ")$";
  };
  if (name == "date") return whole(date_pattern);
  if (name == "time") return whole(time_pattern);
  if (name == "date-time") return whole(std::string(date_pattern) + "T" + std::string(time_pattern));
  if (name == "uuid") return whole("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
  if (name == "ipv4") {
    constexpr std::string_view byte = "(?:\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])";
    return whole(std::string(byte) + "(?:\\." + std::string(byte) + "){3}");
  }
  constexpr std::string_view label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?";
  const std::string host = std::string(label) + "(?:\\." + std::string(label) + ")";
  if (name == "hostname") return whole(host + "{0,4}");
  if (name == "email") return whole("[A-Za-z0-9_%+-]{1,32}(?:\\.[A-Za-z0-9_%+-]{1,16}){0,2}@" + host + "{1,4}");
  return std::nullopt;
}

}  // namespace mslt
