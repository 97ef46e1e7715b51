// Lists of texts in CLI11.
#include "cli/texts.h"

#include <CLI/CLI.hpp>

namespace mslt::cli {
namespace {

// From 2^25 on, CLI11 interprets a number as "any" and splits texts in brackets.
constexpr int most_texts = 1 << 20;

template <class Text>
CLI::Option* add_list(CLI::App& command, const std::string& flag, std::vector<Text>& values,
                      const std::string& description) {
  const CLI::callback_t take = [&values](const CLI::results_t& results) {
    values.assign(results.begin(), results.end());
    return true;
  };
  CLI::Option* option = command.add_option(flag, take, description);
  return option->type_name("TEXT")->allow_extra_args(false)->expected(1, most_texts)->take_all();
}

}  // namespace

CLI::Option* add_texts(CLI::App& command, const std::string& flag, std::vector<std::string>& values,
                       const std::string& description) {
  return add_list(command, flag, values, description);
}

CLI::Option* add_paths(CLI::App& command, const std::string& flag, std::vector<std::filesystem::path>& values,
                       const std::string& description) {
  return add_list(command, flag, values, description);
}

bool takes_several(const CLI::Option& option) {
  return option.get_items_expected_max() == most_texts;
}

}  // namespace mslt::cli
