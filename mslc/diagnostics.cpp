// Ordering and printing diagnostics.
#include "mslc/diagnostics.h"

#include <iterator>
#include <tuple>

namespace mslt::mslc {

bool operator<(const Diagnostic& a, const Diagnostic& b) {
  return std::tie(a.at.file, a.at.line, a.at.column, a.message) <
         std::tie(b.at.file, b.at.line, b.at.column, b.message);
}

std::string Diagnostics::text() const {
  std::string text;
  for (const Diagnostic& error : errors_) {
    fmt::format_to(std::back_inserter(text), "{}:{}:{}: error: {}\n", error.at.file, error.at.line, error.at.column,
                   error.message);
  }
  return text;
}

}  // namespace mslt::mslc
