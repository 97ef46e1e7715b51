// Finding the argument that a parser rejected.
#include "cli/usage_error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <span>

#include "base/suggest.h"

namespace mslt::cli {
namespace {

using Subcommands = std::vector<const CLI::App*>;

Subcommands subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

const CLI::App* find_subcommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : subcommands(app)) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// Full commands, such as "mslt tokenizer train", whose last word is exactly `word`.
void find_deeper(const CLI::App& app, const std::string& path, const std::string& word,
                 std::vector<std::string>& found) {
  for (const CLI::App* command : subcommands(app)) {
    const std::string full = path + " " + command->get_name();
    if (command->get_name() == word) found.push_back(fmt::format("'{}'", full));
    find_deeper(*command, full, word, found);
  }
}

// A full command below `app` with the option, such as "mslt devices", or nothing.
std::string find_owner(const CLI::App& app, const std::string& path, const std::string& option) {
  for (const CLI::App* command : subcommands(app)) {
    const std::string full = path + " " + command->get_name();
    if (command->get_option_no_throw(option) != nullptr) return full;
    if (const std::string owner = find_owner(*command, full, option); !owner.empty()) return owner;
  }
  return {};
}

bool looks_like_option(const std::string& argument) {
  return argument.size() > 1 && argument[0] == '-' && argument.find_first_not_of("-.0123456789") != std::string::npos;
}

// The first argument that is neither an option of the command nor an option's value, or nullptr.
const std::string* first_unknown(const CLI::App& command, std::span<const std::string> arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") return nullptr;
    const std::size_t equals = arguments[i].find('=');
    const CLI::Option* option = nullptr;
    if (looks_like_option(arguments[i])) option = command.get_option_no_throw(arguments[i].substr(0, equals));
    if (option == nullptr) return &arguments[i];
    if (equals != std::string::npos) continue;
    const auto least = static_cast<std::size_t>(option->get_items_expected_min());
    const auto most = static_cast<std::size_t>(option->get_items_expected_max());
    for (std::size_t taken = 0; taken < most && i + 1 < arguments.size(); ++taken, ++i) {
      if (taken >= least && looks_like_option(arguments[i + 1])) break;
    }
  }
  return nullptr;
}

std::string explain_command(const CLI::App& group, const std::string& path, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : subcommands(group)) names.push_back(command->get_name());
  std::vector<std::string> meant;
  for (const std::string& name : near_names(word, names)) meant.push_back(fmt::format("'{} {}'", path, name));
  if (meant.empty()) find_deeper(group, path, word, meant);
  std::string result = fmt::format("'{}' has no command '{}'.", path, word);
  if (!meant.empty()) return result + did_you_mean(meant);
  return result + fmt::format(" Its commands are {}.", fmt::join(names, ", "));
}

std::string explain_option(const CLI::App& command, const std::string& path, const std::string& argument) {
  const std::vector<std::string> names = option_names(command);
  const std::string name = argument.substr(0, argument.find('='));
  const std::string near = did_you_mean(near_names(name, names));
  if (!looks_like_option(argument)) {
    return fmt::format("'{}' does not take the argument '{}'.{}", path, argument, near);
  }
  std::string result = fmt::format("'{}' has no option {}.{}", path, name, near);
  if (near.empty()) {
    const std::string example = find_owner(command, path, name);
    if (!example.empty()) result += fmt::format(" Options follow the command, as in '{} {}'.", example, name);
  }
  return result;
}

std::string with_full_stop(std::string words) {
  while (!words.empty() && (words.back() == '\n' || words.back() == ' ')) words.pop_back();
  if (!words.empty() && words.back() != '.') words += '.';
  return words;
}

}  // namespace

std::string explain_usage_error(const CLI::App& app, const std::vector<std::string>& arguments,
                                const CLI::ParseError& error) {
  const CLI::App* command = &app;
  std::string path = app.get_name();
  std::size_t depth = 0;
  for (; depth < arguments.size(); ++depth) {
    const CLI::App* inner = find_subcommand(*command, arguments[depth]);
    if (inner == nullptr) break;
    command = inner;
    path += " " + inner->get_name();
  }
  const Subcommands inner = subcommands(*command);
  std::string words;
  if (!inner.empty() && depth == arguments.size()) {
    std::vector<std::string> names;
    for (const CLI::App* one : inner) names.push_back(fmt::format("'{} {}'", path, one->get_name()));
    words = fmt::format("'{}' needs a command: {}.", path, fmt::join(names, " or "));
  } else if (!inner.empty() && !looks_like_option(arguments[depth])) {
    words = explain_command(*command, path, arguments[depth]);
  } else if (const std::string* unknown = first_unknown(*command, std::span(arguments).subspan(depth))) {
    words = explain_option(*command, path, *unknown);
  } else {
    words = with_full_stop(error.what());
  }
  return fmt::format("{} '{} --help' shows what is available.", words, path);
}

}  // namespace mslt::cli
