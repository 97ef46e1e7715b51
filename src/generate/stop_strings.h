// Finding stop strings in a text that arrives in pieces.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// Throws Error(usage) for an empty stop string.
void require_stop_strings(std::span<const std::string> stop);

// Passes text through, but holds back what may become a stop string. One thread at a time.
class StopStrings {
 public:
  // Throws Error(usage) for an empty stop string.
  explicit StopStrings(std::vector<std::string> stop);

  // Returns the text that is now certain to precede any stop string; nothing once stopped() is true.
  std::string push(std::string_view piece);
  // Returns what was held back, at the end of the text.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace mslt
