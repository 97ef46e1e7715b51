// Rewriting or appending the progress line.
#include "cli/progress.h"

#include <ostream>

namespace mslt::cli {

ProgressLine::~ProgressLine() {
  try {
    clear();
  } catch (...) {  // standard output, flushed first, fails again at its end
  }
}

void ProgressLine::update(std::string_view text, bool always) {
  const auto now = std::chrono::steady_clock::now();
  const auto interval = is_terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  if (!always && last_.time_since_epoch().count() != 0 && now - last_ < interval) return;
  last_ = now;
  if (is_terminal_) {
    stream_ << "\r\x1b[2K" << text << std::flush;
    shown_ = true;
  } else {
    stream_ << text << '\n' << std::flush;
  }
}

void ProgressLine::print(std::string_view text) {
  clear();
  stream_ << text << '\n' << std::flush;
}

void ProgressLine::clear() {
  if (shown_) stream_ << "\r\x1b[2K" << std::flush;
  shown_ = false;
}

}  // namespace mslt::cli
