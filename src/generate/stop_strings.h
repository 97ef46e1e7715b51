// Finding stop strings in a text that arrives in pieces.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// Throws Error(usage) for an empty stop string.
void require_stop_strings(std::span<const std::string> stop);

// Passes text through, holding back whatever may still become a stop string. One thread at a time.
class StopStrings {
 public:
  // Throws Error(usage) for an empty stop string.
  explicit StopStrings(std::vector<std::string> stop);

  // The part of everything pushed so far that is now certain to stand before any stop string. Once stopped() is true it
  // returns nothing more.
  std::string push(std::string_view piece);
  // What was held back, once no more text comes.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace mslt
