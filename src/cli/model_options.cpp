// Presets and their changes.
#include "cli/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "base/fail.h"
#include "cli/numbers.h"
#include "model/config_fields.h"

namespace mslt::cli {
namespace {

std::string flag_of(const ConfigField& field) {
  std::string flag = "--" + std::string(field.name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

IntegerRange integers_of(const ConfigField& field) {
  return {static_cast<std::int64_t>(field.least), static_cast<std::uint64_t>(field.most), field.unit};
}

RealRange reals_of(const ConfigField& field) {
  return {field.least, field.most, field.above_least, field.below_most, field.unit};
}

void read(const ConfigField& field, const std::string& text, std::int64_t& value) {
  value = static_cast<std::int64_t>(parse_integer(flag_of(field), text, integers_of(field)));
}
void read(const ConfigField& field, const std::string& text, double& value) {
  value = parse_double(flag_of(field), text, reals_of(field));
}
void read(const ConfigField& field, const std::string& text, float& value) {
  value = parse_float(flag_of(field), text, reals_of(field));
}
void read(const ConfigField& field, const std::string& text, bool& value) {
  value = parse_boolean(flag_of(field), text);
}
// Only files have lists.
[[noreturn]] void read(const ConfigField& field, const std::string& /*text*/, std::vector<double>& /*value*/) {
  fail(ErrorKind::usage, "{} is no option of the command line.", field.name);
}
template <Setting T>
void read(const ConfigField& /*field*/, const std::string& text, T& value) {
  value = from_name<T>(text);
}

// How the help shows the type of a field, and its range.
template <class T>
std::pair<std::string_view, std::string> type_of(const ConfigField& field) {
  if constexpr (std::is_same_v<T, bool>) {
    return {boolean_type, ""};
  } else if constexpr (std::is_integral_v<T>) {
    return {integer_type, describe(integers_of(field))};
  } else if constexpr (std::is_floating_point_v<T>) {
    return {real_type, describe(reals_of(field))};
  } else {
    return {"TEXT", ""};
  }
}

}  // namespace

Config ModelOptions::config() const {
  Config result = mslt::preset(preset);
  const auto read_changes = [&] {
    visit_fields(result, [&](const ConfigField& field, auto& value) {
      if (const auto change = changes.find(field.name); change != changes.end()) read(field, change->second, value);
    });
  };
  read_changes();
  const auto changed = [&](std::string_view name) {
    return changes.contains(name);
  };
  if (changed("heads")) result.kv_heads = result.heads;
  if ((changed("channels") || changed("heads")) && result.heads > 0) result.head_size = result.channels / result.heads;
  if (changed("channels")) result.ffn_size = 4 * result.channels;
  if (changed("norm")) result.norm_bias = result.norm == NormType::layernorm;
  // What is given wins over what follows.
  read_changes();
  return result;
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  command.add_option("--preset", options.preset, fmt::format("{}", fmt::join(preset_names(), ", ")))
      ->group(model_option_group);
  const Config none;
  visit_fields(none, [&]<class T>(const ConfigField& field, const T& /*value*/) {
    if (!field.has_flag) return;
    const auto [type, range] = type_of<T>(field);
    const auto check = [field](const std::string& text) {
      T value{};
      read(field, text, value);
    };
    const auto take = [field, &options](const std::string& text) {
      options.changes[std::string(field.name)] = text;
    };
    detail::add_value(command, flag_of(field), std::string(field.help), std::string(type), range, check, take, [] {
      return std::string();
    })->group(model_option_group);
  });
}

}  // namespace mslt::cli
