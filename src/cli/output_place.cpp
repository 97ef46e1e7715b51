// Questions about outputs before work starts.
#include "cli/output_place.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/fail.h"
#include "base/paths.h"
#include "cli/numbers.h"

namespace mslt::cli {

void add_force_option(CLI::App& command, bool& force) {
  add_switch(command, "--force", force, "Replace what --output names, if it is there");
}

void require_replaceable(const std::filesystem::path& written, bool force) {
  if (force || !path_exists(written)) return;
  fail(ErrorKind::usage, "{} exists already; choose another --output, or add --force to replace it.", written.string());
}

std::string free_name(std::string_view name) {
  std::string result(name);
  for (int number = 2; path_exists(result); ++number) result = fmt::format("{}-{}", name, number);
  return result;
}

}  // namespace mslt::cli
