// What mslc found wrong, in the form that editors and CI understand: FILE:LINE:COL: error: message.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "mslc/token.h"

namespace mslt::mslc {

struct Diagnostic {
  Location at;
  std::string message;
};

// Collects every error, so that one run tells them all. One thread at a time.
class Diagnostics {
 public:
  // The message says what is wrong and what would be valid.
  template <class... Args>
  void error(const Location& at, fmt::format_string<Args...> format, Args&&... args) {
    add(at, fmt::format(format, std::forward<Args>(args)...));
  }
  bool empty() const { return errors_.empty(); }
  const std::vector<Diagnostic>& errors() const { return errors_; }
  // All of them in the order of files, lines and columns, one a line.
  std::string text() const;

 private:
  void add(const Location& at, std::string message);

  std::vector<Diagnostic> errors_;
};

}  // namespace mslt::mslc
