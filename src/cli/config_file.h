// Options from a TOML file.
#pragma once

#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

// Where the arguments hold --config FILE.toml, puts the file's options in front of the subcommand's own, so that those
// on the command line win. A key is an option's name without its dashes: batch-size = 16, resume = true, or, for an
// option that takes several texts, stop = ["A", "B"]. Tables and dates are not used. Throws Error(usage) that names the
// file, the line, the column and the key: for what is not TOML, for a key that the subcommand does not have, and for a
// value that is not of the option's type or out of its range; Error(io) where the file cannot be read.
// "--flag=" also becomes two arguments, the second of which is empty: CLI11 would take the argument that follows.
std::vector<std::string> with_config_file(CLI::App& app, std::vector<std::string> arguments);

}  // namespace mslt::cli
