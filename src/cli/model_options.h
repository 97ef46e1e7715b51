// The options of train and bench that describe a model.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "mslt/config.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

// A preset, and what the user changes of it. A value type; CLI11 writes into it.
struct ModelOptions {
  std::string preset = "tiny";
  std::map<std::string, std::string, std::less<>> changes;  // valid texts by the names of Config's fields

  // The preset with the changes. Sizes that follow from others (head_size, kv_heads) are derived anew where the others
  // change. Throws Error(usage) for unknown presets; Config::validate() is left to the caller.
  Config config() const;
};

// The heading of these options in the help.
inline constexpr const char* model_option_group = "Model";

// Adds --preset, --layers and so on: a flag for each field of Config.
void add_model_options(CLI::App& command, ModelOptions& options);

}  // namespace mslt::cli
