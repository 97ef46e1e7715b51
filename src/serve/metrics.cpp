// Prometheus's text format.
#include "serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace mslt::serve {
namespace {

std::string head(std::string_view name, std::string_view type, std::string_view help) {
  return fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class Value>
std::string single(std::string_view name, std::string_view type, std::string_view help, Value value) {
  return head(name, type, help) + fmt::format("{} {}\n", name, value);
}

}  // namespace

void Metrics::Histogram::add(double seconds, std::uint64_t times) {
  const auto range = std::lower_bound(bounds.begin(), bounds.end(), seconds);
  counts[static_cast<std::size_t>(range - bounds.begin())] += times;
  sum += seconds * static_cast<double>(times);
}

std::string Metrics::Histogram::text(std::string_view name, std::string_view help) const {
  std::string result = head(name, "histogram", help);
  std::uint64_t up_to = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    up_to += counts[i];
    const std::string bound = i < bounds.size() ? fmt::format("{}", bounds[i]) : "+Inf";
    result += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, bound, up_to);
  }
  return result + fmt::format("{}_sum {}\n{}_count {}\n", name, sum, name, up_to);
}

void Metrics::count_response(std::string_view route, int status) {
  const std::scoped_lock lock(mutex_);
  ++responses_[{std::string(route), status}];
}

void Metrics::count_abandoned() {
  const std::scoped_lock lock(mutex_);
  ++abandoned_;
}

void Metrics::observe_first_token(double seconds) {
  const std::scoped_lock lock(mutex_);
  first_token_.add(seconds, 1);
}

void Metrics::observe_tokens(double seconds, std::size_t tokens) {
  if (tokens == 0) return;
  const std::scoped_lock lock(mutex_);
  between_tokens_.add(seconds / static_cast<double>(tokens), tokens);
}

std::string Metrics::text(const EngineStatistics& engine, std::size_t connections) const {
  const std::scoped_lock lock(mutex_);
  std::string result = head("mslt_http_responses_total", "counter", "Responses by route and status.");
  for (const auto& [key, count] : responses_) {
    result += fmt::format("mslt_http_responses_total{{route=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
  }
  result +=
      single("mslt_http_abandoned_total", "counter", "Answers not completed: client gone or time over.", abandoned_);
  result += single("mslt_http_connections", "gauge", "Open connections.", connections);
  result += single("mslt_requests_running", "gauge", "Requests that hold a part of the cache.", engine.running);
  result += single("mslt_requests_queued", "gauge", "Requests that wait for a place.", engine.queued);
  result += single("mslt_requests_put_back_total", "counter", "Running requests that lost their blocks for a while.",
                   engine.put_back);
  result += head("mslt_requests_total", "counter", "Ended requests by outcome.");
  result += fmt::format("mslt_requests_total{{outcome=\"finished\"}} {}\n", engine.finished);
  result += fmt::format("mslt_requests_total{{outcome=\"cancelled\"}} {}\n", engine.cancelled);
  result += fmt::format("mslt_requests_total{{outcome=\"failed\"}} {}\n", engine.failed);
  result += single("mslt_prompt_tokens_total", "counter", "Tokens of prompts.", engine.prompt_tokens);
  result += single("mslt_cached_prompt_tokens_total", "counter", "Tokens of prompts that were in the cache.",
                   engine.cached_prompt_tokens);
  result += single("mslt_generated_tokens_total", "counter", "Generated tokens.", engine.new_tokens);
  result += single("mslt_cache_blocks", "gauge", "Blocks of the KV cache.", engine.cache_blocks);
  result += single("mslt_cache_blocks_used", "gauge", "Blocks that running requests hold.", engine.cache_blocks_used);
  result += single("mslt_cache_blocks_kept", "gauge", "Blocks kept for prompts to come.", engine.cache_blocks_kept);
  result += first_token_.text("mslt_time_to_first_token_seconds", "From a request's arrival to its first token.");
  return result + between_tokens_.text("mslt_time_between_tokens_seconds", "Between an answer's tokens.");
}

}  // namespace mslt::serve
