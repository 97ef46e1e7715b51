#include "mslc/rules.h"
namespace mslt::mslc {
void check_calls(const Syntax&, Diagnostics&) {}
}  // namespace mslt::mslc
