// Collecting and printing diagnostics.
#include "mslc/diagnostics.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace mslt::mslc {

void Diagnostics::add(const Location& at, std::string message) {
  // A header is read once for every source that includes it, and would be reported as often.
  const bool known = std::any_of(errors_.begin(), errors_.end(), [&](const Diagnostic& other) {
    return other.at.file == at.file && other.at.line == at.line && other.at.column == at.column &&
           other.message == message;
  });
  if (!known) {
    errors_.push_back({at, std::move(message)});
  }
}

std::string Diagnostics::text() const {
  std::vector<Diagnostic> sorted = errors_;
  std::sort(sorted.begin(), sorted.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.at.file, a.at.line, a.at.column, a.message) <
           std::tie(b.at.file, b.at.line, b.at.column, b.message);
  });
  std::string text;
  for (const Diagnostic& error : sorted) {
    fmt::format_to(std::back_inserter(text), "{}:{}:{}: error: {}\n", error.at.file, error.at.line, error.at.column,
                   error.message);
  }
  return text;
}

}  // namespace mslt::mslc
