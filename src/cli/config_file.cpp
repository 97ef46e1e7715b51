// Reading TOML options through toml++ and merging them into the arguments.
#include "cli/config_file.h"

#include <CLI/CLI.hpp>
// Compiles the library's code, only here.
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include "base/fail.h"
#include "base/file.h"
#include "base/printable.h"
#include "cli/numbers.h"
#include "cli/texts.h"

namespace mslt::cli {
namespace {

CLI::App* find_subcommand(CLI::App& app, const std::string& name) {
  const auto subcommands = app.get_subcommands([&](CLI::App* command) { return command->get_name() == name; });
  return subcommands.empty() ? nullptr : subcommands.front();
}

bool is_given(const std::vector<std::string>& arguments, const std::string& option) {
  return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    return argument == option || argument.starts_with(option + "=");
  });
}

// Levenshtein's distance; a dash and an underscore count as equal.
std::size_t distance(std::string_view a, std::string_view b) {
  const auto plain = [](char c) {
    return c == '_' ? '-' : c;
  };
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (plain(a[i]) == plain(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

// The command's options by their keys.
std::vector<std::string> keys_of(const CLI::App& command) {
  std::vector<std::string> keys;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (name != "help" && name != "config") keys.push_back(name);
    }
  }
  return keys;
}

// The key probably meant by `key`; empty if none is near.
std::string nearest_key(const CLI::App& command, std::string_view key) {
  std::string nearest;
  std::size_t least = std::max<std::size_t>(key.size() / 3, 1) + 1;
  for (const std::string& known : keys_of(command)) {
    const std::size_t so_far = distance(key, known);
    if (so_far < least) {
      least = so_far;
      nearest = known;
    }
  }
  return nearest;
}

std::string_view article_and_name(toml::node_type type) {
  switch (type) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a fraction";
    case toml::node_type::boolean:
      return "a truth value";
    case toml::node_type::date:
      return "a date";
    case toml::node_type::time:
      return "a time";
    case toml::node_type::date_time:
      return "a date and time";
    default:
      return "nothing";
  }
}

constexpr std::size_t most_key_parts = 256;

// An upper bound on the number of parts of the longest dotted key: a.b.c has three. The library's tables are nested as
// deep, and destroyed by recursion.
std::size_t longest_dotted_key(std::string_view text) {
  std::size_t longest = 0;
  std::size_t dots = 0;
  char before = '\n';  // the last non-blank character
  bool apart = false;  // separated by blanks
  for (const char c : text) {
    const bool is_blank = c == ' ' || c == '\t';
    const bool is_part = c == '_' || c == '-' || c == '"' || c == '\'' || (c >= '0' && c <= '9') ||
                         (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c == '.') {
      longest = std::max(longest, ++dots);
    } else if (!is_blank && (!is_part || (apart && before != '.'))) {
      dots = 0;
    }
    apart = is_blank;
    if (!is_blank) before = c;
  }
  return longest + 1;
}

// Turns the options of one file into arguments.
class ConfigReader {
 public:
  ConfigReader(const std::string& path, CLI::App& command) : path_(printable(path)), command_(command) {}

  // In the file's order, without those already in `given`, which are still checked.
  std::vector<std::string> arguments(std::string_view text, const std::vector<std::string>& given) {
    const toml::table table = parse(text);
    std::vector<std::pair<toml::source_position, std::vector<std::string>>> found;
    for (const auto& [key, node] : table) {
      std::vector<std::string> some = option_arguments(key, node);
      const bool is_overridden = is_given(given, fmt::format("--{}", key.str()));
      if (!is_overridden) found.emplace_back(key.source().begin, std::move(some));
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::string> result;
    for (const auto& [position, some] : found) result.insert(result.end(), some.begin(), some.end());
    return result;
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(const toml::source_position& at, fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::usage, "{}:{}:{}: {}", path_, at.line, at.column, fmt::format(format, std::forward<Args>(args)...));
  }

  toml::table parse(std::string_view text) const {
    if (text.find('\0') != std::string_view::npos)
      fail(ErrorKind::usage, "{} is not TOML: it holds a NUL byte.", path_);
    if (longest_dotted_key(text) > most_key_parts) {
      fail(ErrorKind::usage, "{} has a key of more than {} parts; options have one, as in batch-size = 16.", path_,
           most_key_parts);
    }
    try {
      return toml::parse(text);
    } catch (const toml::parse_error& error) {
      refuse(error.source().begin, "this is not TOML: {}.", error.description());
    }
  }

  std::vector<std::string> option_arguments(const toml::key& key, const toml::node& node) const {
    const toml::source_position at = key.source().begin;
    const std::string name(key.str());
    if (node.is_table() || node.is_array_of_tables()) {
      refuse(at, "'{}' is a table; options must be at the top of the file, as in batch-size = 16.", name);
    }
    if (name == "config") refuse(at, "'config' cannot be set in a configuration file.");
    const std::vector<std::string> known = keys_of(command_);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string nearest = nearest_key(command_, name);
      refuse(at, "'{}' has no option '{}'; {}", command_.get_name(), name,
             nearest.empty() ? "its --help lists its options." : fmt::format("did you mean '{}'?", nearest));
    }
    return values_of(name, node, *command_.get_option("--" + name));
  }

  std::vector<std::string> values_of(const std::string& name, const toml::node& node, CLI::Option& option) const {
    const std::string flag = "--" + name;
    if (const toml::array* array = node.as_array()) {
      const toml::source_position at = node.source().begin;
      if (!takes_several(option)) {
        refuse(at, "'{}' takes one value, not an array{}.", name,
               type_of(option) == count_or_list_type ? fmt::format("; several are one text, {} = \"0,1\"", name) : "");
      }
      std::vector<std::string> result;
      for (const toml::node& element : *array) append(result, flag, text_of(name, element, option));
      if (result.empty()) refuse(at, "'{}' is an empty array; give it a value, or leave it out.", name);
      return result;
    }
    if (option.get_items_expected_max() == 0) {
      const toml::value<bool>* value = node.as_boolean();
      if (value == nullptr) {
        refuse(node.source().begin, "'{}' is {}; it must be true or false.", name, article_and_name(node.type()));
      }
      return {fmt::format("{}={}", flag, value->get())};
    }
    std::vector<std::string> result;
    append(result, flag, text_of(name, node, option));
    return result;
  }

  static void append(std::vector<std::string>& arguments, const std::string& flag, const std::string& value) {
    if (!value.empty()) {
      arguments.push_back(fmt::format("{}={}", flag, value));
      return;
    }
    arguments.push_back(flag);
    arguments.emplace_back();
  }

  // How a number would be written as a text.
  static std::string quoted_example(const std::string& name, const toml::node& node) {
    if (const auto* whole = node.as_integer()) return fmt::format(", as in {} = \"{}\"", name, whole->get());
    if (const auto* real = node.as_floating_point()) return fmt::format(", as in {} = \"{}\"", name, real->get());
    return "";
  }

  // The value as it would be typed, checked by the option.
  std::string text_of(const std::string& name, const toml::node& node, CLI::Option& option) const {
    const toml::source_position at = node.source().begin;
    const std::string type = type_of(option);
    const bool takes_number = type == integer_type || type == real_type;
    const bool takes_count = takes_number || type == count_or_list_type;
    const bool takes_boolean = type == boolean_type;
    std::string text;
    if (const auto* value = node.as_boolean(); value != nullptr && takes_boolean) {
      text = value->get() ? "true" : "false";
    } else if (const auto* whole = node.as_integer(); whole != nullptr && takes_count) {
      text = fmt::format("{}", whole->get());
    } else if (const auto* real = node.as_floating_point(); real != nullptr && takes_number) {
      text = fmt::format("{}", real->get());
    } else if (const auto* string = node.as_string(); string != nullptr && !takes_number && !takes_boolean) {
      text = string->get();
      if (text.find('\0') != std::string::npos) refuse(at, "'{}' holds a NUL character.", name);
    } else {
      refuse(at, "'{}' is {}; it must be {}.", name, article_and_name(node.type()),
             takes_number    ? "a number, without quotes"
             : takes_boolean ? "true or false"
             : takes_count   ? "a whole number, or a text, in quotes"
                             : fmt::format("a text, in quotes{}", quoted_example(name, node)));
    }
    try {
      if (takes_number || takes_boolean) (*option.get_validator(0))(text);
    } catch (const Error& error) {
      refuse(at, "{}", error.what());
    }
    return text;
  }

  std::string path_;
  CLI::App& command_;
};

// "--flag=" as "--flag" and "".
std::vector<std::string> with_empty_values(std::vector<std::string> arguments) {
  std::vector<std::string> result;
  for (std::string& argument : arguments) {
    const bool is_empty =
        argument.size() > 3 && argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    if (is_empty) argument.pop_back();
    result.push_back(std::move(argument));
    if (is_empty) result.emplace_back();
  }
  return result;
}

}  // namespace

std::vector<std::string> with_config_file(CLI::App& app, std::vector<std::string> arguments) {
  arguments = with_empty_values(std::move(arguments));
  CLI::App* command = &app;
  std::size_t depth = 0;
  while (depth < arguments.size()) {
    CLI::App* inner = find_subcommand(*command, arguments[depth]);
    if (inner == nullptr) break;
    command = inner;
    ++depth;
  }
  std::optional<std::string> path;
  for (std::size_t i = depth; i < arguments.size(); ++i) {
    if (arguments[i] == "--config" && i + 1 < arguments.size()) path = arguments[i + 1];
    if (arguments[i].starts_with("--config=")) path = arguments[i].substr(9);
  }
  if (!path) return arguments;
  if (path->empty()) fail(ErrorKind::usage, "--config is empty; it must name a TOML file.");
  const std::string text = read_file(*path, std::uint64_t{1} << 20);
  const std::vector<std::string> inserted = ConfigReader(*path, *command).arguments(text, arguments);
  arguments.insert(arguments.begin() + static_cast<std::ptrdiff_t>(depth), inserted.begin(), inserted.end());
  return arguments;
}

}  // namespace mslt::cli
