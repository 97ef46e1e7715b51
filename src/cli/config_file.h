// Options from a TOML file.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mslt::cli {

// Where the arguments hold --config FILE.toml, puts the file's options in front of the subcommand's own, so that those
// on the command line win. A key is an option's name without its dashes, such as batch-size = 16 or stop = ["A", "B"];
// tables are not used. Throws Error(usage) naming the file and the key that the subcommand does not have, or the line
// that is not TOML; Error(io) where the file cannot be read.
std::vector<std::string> with_config_file(const CLI::App& app, std::vector<std::string> arguments);

}  // namespace mslt::cli
