// Looking kernels up by name.
#include "backend/msl/kernel_info.h"

#include <algorithm>

#include "base/fail.h"

namespace mslt::msl {

const KernelInfo& kernel_info(std::string_view name) {
  const std::span<const KernelInfo> table = kernel_table();
  const auto found =
      std::lower_bound(table.begin(), table.end(), name,
                       [](const KernelInfo& info, std::string_view wanted) { return info.name < wanted; });
  if (found == table.end() || found->name != name) {
    fail(ErrorKind::device, "there is no kernel '{}' among the {} of kernels/", name, table.size());
  }
  return *found;
}

}  // namespace mslt::msl
