// Options from a TOML file.
#pragma once

#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

// If the arguments contain --config FILE.toml, inserts the file's options before the subcommand's own, so the command
// line wins. A key is an option's name without its dashes: batch-size = 16, resume = true, or, for an option with
// several texts, stop = ["A", "B"]. Tables and dates are not used. Throws Error(usage) that names the file, the line,
// the column and the key: for invalid TOML, for a key that the subcommand does not have, and for a value of the wrong
// type or out of range; Error(io) if the file cannot be read. Also splits "--flag=" into two arguments, the second one
// empty: CLI11 would otherwise take the argument that follows.
std::vector<std::string> with_config_file(CLI::App& app, std::vector<std::string> arguments);

}  // namespace mslt::cli
