// The formats of JSON schemas as regular expressions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mslt {

// A pattern (parse_pattern) of texts in a format: date, time, date-time, uuid, ipv4, hostname or email; nothing for
// others. Not every text in the format matches, but what matches has it.
std::optional<std::string> format_pattern(std::string_view name);

}  // namespace mslt
