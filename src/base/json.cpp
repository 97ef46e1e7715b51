// Bounded JSON parsing.
#include "base/json.h"

#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/file.h"

namespace mslt {

nlohmann::json parse_json(std::string_view text, std::string_view source) {
  constexpr int max_depth = 64;
  const auto check_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > max_depth) fail(ErrorKind::input, "{} nests deeper than {} levels.", source, max_depth);
    return true;
  };
  try {
    return nlohmann::json::parse(text, check_depth);
  } catch (const nlohmann::json::parse_error& error) {
    fail(ErrorKind::input, "{} is not valid JSON: it fails to parse at byte {}.", source, error.byte);
  } catch (const nlohmann::json::out_of_range&) {
    fail(ErrorKind::input, "{} holds a number that is too large.", source);
  }
}

nlohmann::json read_json_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path.string());
}

}  // namespace mslt
