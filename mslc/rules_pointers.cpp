#include "mslc/rules.h"
namespace mslt::mslc {
void check_address_spaces(const Syntax&, Diagnostics&) {}
}  // namespace mslt::mslc
