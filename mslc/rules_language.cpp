#include "mslc/rules.h"
namespace mslt::mslc {
void check_language(const Syntax&, Diagnostics&) {}
}  // namespace mslt::mslc
