// Options with several texts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
class Option;
}  // namespace CLI

namespace mslt::cli {

// Adds an option that takes one or several texts and may be given several times: each text unchanged, even one in
// brackets, which CLI11 itself would split.
CLI::Option* add_texts(CLI::App& command, const std::string& flag, std::vector<std::string>& values,
                       const std::string& description);
CLI::Option* add_paths(CLI::App& command, const std::string& flag, std::vector<std::filesystem::path>& values,
                       const std::string& description);

// Whether one of these functions added `option`.
bool takes_several(const CLI::Option& option);

}  // namespace mslt::cli
