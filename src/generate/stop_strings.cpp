// Incremental search for the earliest of several strings.
#include "generate/stop_strings.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace mslt {

void require_stop_strings(std::span<const std::string> stop) {
  for (const std::string& text : stop) {
    if (text.empty()) fail(ErrorKind::usage, "--stop is empty; valid is any text of at least one character.");
  }
}

StopStrings::StopStrings(std::vector<std::string> stop) : stop_(std::move(stop)) {
  require_stop_strings(stop_);
}

std::string StopStrings::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  std::size_t end = std::string::npos;
  for (const std::string& text : stop_) end = std::min(end, held_.find(text));
  if (end != std::string::npos) {
    stopped_ = true;
    std::string result = held_.substr(0, end);
    held_.clear();
    return result;
  }
  // The longest suffix that begins a stop string stays.
  std::size_t keep = 0;
  for (const std::string& text : stop_) {
    for (std::size_t length = std::min(text.size() - 1, held_.size()); length > keep; --length) {
      if (std::string_view(held_).substr(held_.size() - length) == std::string_view(text).substr(0, length)) {
        keep = length;
      }
    }
  }
  std::string result = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return result;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace mslt
