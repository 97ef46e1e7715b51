// One line of progress on standard error.
#pragma once

#include <chrono>
#include <iosfwd>
#include <string>
#include <string_view>

namespace mslt::cli {

// On a terminal, rewrites the line in place at most ten times a second. Elsewhere, prints lines at most every five
// seconds, so logs stay readable. One thread at a time.
class ProgressLine {
 public:
  ProgressLine(std::ostream& stream, bool is_terminal) : stream_(stream), is_terminal_(is_terminal) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();

  // Shows the text if enough time has passed since the last one, or if `always`.
  void update(std::string_view text, bool always = false);
  // Prints a permanent line.
  void print(std::string_view text);
  // Erases the line in place.
  void clear();

 private:
  std::ostream& stream_;
  bool is_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace mslt::cli
