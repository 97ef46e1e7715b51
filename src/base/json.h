// Bounded parsing of untrusted JSON into nlohmann::json, and typed members with errors that name them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace mslt {

// Parses one JSON text. Throws Error(input) naming `source` and the byte of a syntax error, or if it nests deeper than
// 64 levels.
nlohmann::json parse_json(std::string_view text, std::string_view source);

// read_file, then parse_json.
nlohmann::json read_json_file(const std::filesystem::path& path, std::uint64_t max_bytes = std::uint64_t{1} << 28);

}  // namespace mslt
