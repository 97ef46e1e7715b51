// Explanations of invalid command lines.
#pragma once

#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
class ParseError;
}  // namespace CLI

namespace mslt::cli {

// Sentences about a command line that `app` refused with `error`: an unknown command or option with the nearest names,
// before anything that is missing; else the parser's own words. They end with the help to read.
std::string explain_usage_error(const CLI::App& app, const std::vector<std::string>& arguments,
                                const CLI::ParseError& error);

}  // namespace mslt::cli
