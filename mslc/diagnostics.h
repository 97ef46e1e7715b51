// The errors found by mslc, in the form that editors and CI understand: FILE:LINE:COL: error: message.
#pragma once

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>

#include "mslc/token.h"

namespace mslt::mslc {

struct Diagnostic {
  Location at;
  std::string message;
};

// By file, line, column and message.
bool operator<(const Diagnostic& a, const Diagnostic& b);

// Collects all errors, so one run reports every one. One thread at a time.
class Diagnostics {
 public:
  // The message says what is wrong and what would be valid.
  template <class... Args>
  void error(const Location& at, fmt::format_string<Args...> format, Args&&... args) {
    errors_.insert({at, fmt::format(format, std::forward<Args>(args)...)});
  }
  bool empty() const { return errors_.empty(); }
  // All errors, ordered by file, line and column, one per line.
  std::string text() const;

 private:
  // A set, because a header is read for every source that includes it, but its errors are reported once.
  std::set<Diagnostic> errors_;
};

}  // namespace mslt::mslc
