// Options whose values are names.
#pragma once

#include <string>

#include "cli/numbers.h"
#include "mslt/config.h"

namespace mslt::cli {

// Adds an option for a setting, whose current value is the default. A name that it does not have throws Error(usage)
// out of CLI::App's parse.
template <Setting T>
void add_setting(CLI::App& command, const std::string& flag, T& value, const std::string& description) {
  detail::add_value(
      command, flag, description, "TEXT", "", [](const std::string& text) { from_name<T>(text); },
      [&value](const std::string& text) { value = from_name<T>(text); },
      [&value] { return std::string(name_of(value)); });
}

inline void add_recompute_option(CLI::App& command, Recompute& level) {
  add_setting(command, "--recompute", level,
              "What the backward pass computes again to save memory: none, activations (and norms), layers, or auto "
              "for the first that fits the device");
}

}  // namespace mslt::cli
