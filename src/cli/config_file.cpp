// Reading TOML options through CLI11's parser and merging them into the arguments.
#include "cli/config_file.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "base/fail.h"
#include "base/file.h"

namespace mslt::cli {
namespace {

const CLI::App* find_subcommand(const CLI::App& app, const std::string& name) {
  const auto subcommands = app.get_subcommands([&](const CLI::App* command) { return command->get_name() == name; });
  return subcommands.empty() ? nullptr : subcommands.front();
}

bool is_given(const std::vector<std::string>& arguments, const std::string& option) {
  return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    return argument == option || argument.starts_with(option + "=");
  });
}

}  // namespace

std::vector<std::string> with_config_file(const CLI::App& app, std::vector<std::string> arguments) {
  const CLI::App* command = &app;
  std::size_t depth = 0;
  while (depth < arguments.size()) {
    const CLI::App* inner = find_subcommand(*command, arguments[depth]);
    if (inner == nullptr) break;
    command = inner;
    ++depth;
  }
  std::string path;
  for (std::size_t i = depth; i < arguments.size(); ++i) {
    if (arguments[i] == "--config" && i + 1 < arguments.size()) path = arguments[i + 1];
    if (arguments[i].starts_with("--config=")) path = arguments[i].substr(9);
  }
  if (path.empty()) return arguments;

  std::istringstream text(read_file(path, 1 << 20));
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(text);
  } catch (const CLI::Error& error) {
    fail(ErrorKind::usage, "{} is not valid TOML: {}.", path, error.what());
  }
  std::vector<std::string> inserted;
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "++" || item.name == "--") continue;
    if (!item.parents.empty())
      fail(ErrorKind::usage, "{} has a table [{}]; options stand at its top.", path, item.parents[0]);
    const std::string option = "--" + item.name;
    const CLI::Option* known = command->get_option_no_throw(option);
    if (known == nullptr || item.name == "config") {
      fail(ErrorKind::usage, "{} sets '{}', which '{}' does not have; see its --help for the options.", path, item.name,
           command->get_name());
    }
    if (is_given(arguments, option)) continue;
    for (const std::string& input : item.inputs) inserted.push_back(fmt::format("{}={}", option, input));
  }
  arguments.insert(arguments.begin() + static_cast<std::ptrdiff_t>(depth), inserted.begin(), inserted.end());
  return arguments;
}

}  // namespace mslt::cli
