// What was wrong with a command line, in words.
#pragma once

#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
class ParseError;
}  // namespace CLI

namespace mslt::cli {

// Sentences for a command line that `app` refused with `error`: a command or an option that is not there is named with
// those that are near it, before anything that is missing; else the parser's own words. They end with the help to read.
std::string explain_usage_error(const CLI::App& app, const std::vector<std::string>& arguments,
                                const CLI::ParseError& error);

}  // namespace mslt::cli
