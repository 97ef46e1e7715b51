// Metrics: counters and histograms of the server, in the text format of Prometheus.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "mslt/engine.h"

namespace mslt::serve {

// All functions may be called from any thread.
class Metrics {
 public:
  void count_response(std::string_view route, int status);
  // An answer whose client left, or that took too long, before it was complete.
  void count_abandoned();
  void observe_first_token(double seconds);
  // `tokens` came `seconds` after the one before them.
  void observe_tokens(double seconds, std::size_t tokens);

  // https://prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4. `connections` are those open now.
  std::string text(const EngineStatistics& engine, std::size_t connections) const;

 private:
  static constexpr std::array<double, 14> bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                 0.25,  0.5,    1.0,   2.5,  5.0,   10.0, 60.0};
  struct Histogram {
    std::array<std::uint64_t, bounds.size() + 1> counts{};  // of each range by itself
    double sum = 0.0;

    void add(double seconds, std::uint64_t times);
    std::string text(std::string_view name, std::string_view help) const;
  };

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> responses_;
  std::uint64_t abandoned_ = 0;
  Histogram first_token_;
  Histogram between_tokens_;
};

}  // namespace mslt::serve
