#include "mslc/rules.h"
namespace mslt::mslc {
void check_data(const Syntax&, Diagnostics&) {}
}  // namespace mslt::mslc
namespace mslt::mslc {
void check_entries(const std::vector<KernelEntry>&, Diagnostics&) {}
void check_names(const std::vector<const Syntax*>&, Diagnostics&) {}
}  // namespace mslt::mslc
