// Reading and checking units.
#include "mslc/front_end.h"

#include <utility>

#include "mslc/rules.h"

namespace mslt::mslc {

void FrontEnd::add(Unit unit) {
  auto checked = std::make_unique<CheckedUnit>();
  checked->syntax = read_syntax(std::move(unit), diagnostics_);
  check_language(checked->syntax, diagnostics_);
  check_address_spaces(checked->syntax, diagnostics_);
  check_kernels(checked->syntax, diagnostics_);
  check_data(checked->syntax, diagnostics_);
  check_calls(checked->syntax, diagnostics_);
  check_arrays(checked->syntax, diagnostics_);
  checked->entries = kernel_entries(checked->syntax);
  check_entries(checked->entries, diagnostics_);
  units_.push_back(std::move(checked));
}

void FrontEnd::finish() {
  check_names(syntaxes(), diagnostics_);
}

std::vector<const Syntax*> FrontEnd::syntaxes() const {
  std::vector<const Syntax*> all;
  all.reserve(units_.size());
  for (const auto& unit : units_) {
    all.push_back(&unit->syntax);
  }
  return all;
}

std::vector<KernelEntry> FrontEnd::entries() const {
  std::vector<KernelEntry> all;
  for (const auto& unit : units_) {
    all.insert(all.end(), unit->entries.begin(), unit->entries.end());
  }
  return all;
}

}  // namespace mslt::mslc
