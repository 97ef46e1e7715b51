#include "mslc/rules.h"
namespace mslt::mslc {
void check_kernels(const Syntax&, Diagnostics&) {}
}  // namespace mslt::mslc
