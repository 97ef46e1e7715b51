// Options that take several texts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
class Option;
}  // namespace CLI

namespace mslt::cli {

// Adds an option that takes one text or several, and may be given several times: each text as it is, also one in
// brackets, which CLI11 alone would take apart.
CLI::Option* add_texts(CLI::App& command, const std::string& flag, std::vector<std::string>& values,
                       const std::string& description);
CLI::Option* add_paths(CLI::App& command, const std::string& flag, std::vector<std::filesystem::path>& values,
                       const std::string& description);

// Whether `option` was added by one of these.
bool takes_several(const CLI::Option& option);

}  // namespace mslt::cli
