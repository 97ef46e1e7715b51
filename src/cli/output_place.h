// Where commands may write.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

// Adds --force, which lets a command replace what it wrote before.
void add_force_option(CLI::App& command, bool& force);

// Throws Error(usage) that names --output and --force if `written`, which the command would replace, is there and
// `force` is not set.
void require_replaceable(const std::filesystem::path& written, bool force);

// The name, or the first of NAME-2, NAME-3 and so on that the working folder does not hold: for commands to propose.
std::string free_name(std::string_view name);

}  // namespace mslt::cli
