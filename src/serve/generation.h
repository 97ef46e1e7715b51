// Generation: joins one HTTP exchange to the engine's requests that answer it.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mslt/engine.h"
#include "serve/answer.h"
#include "serve/http_message.h"
#include "serve/metrics.h"

namespace mslt::serve {

// Parts that all generations share; they outlive them.
struct GenerationParts {
  Engine& engine;
  Metrics& metrics;
  double request_seconds = 0.0;  // most time of one answer; 0: any
};

// Its events come on the engine's thread, its pulls on the network's, its start on one of the handlers'.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // Makes the response of a whole answer from its body, or of an error.
  using Finish = std::function<HttpResponse(Answer& answer)>;

  // Submits the requests and answers the exchange: in events with this head, or as a whole by `finish`. Throws
  // ApiError(429) if the engine's queue has no room for all of them, and what Engine::submit throws; nothing then runs.
  static void stream(const GenerationParts& parts, std::shared_ptr<HttpExchange> exchange,
                     std::vector<Request> requests, Answer answer, HttpResponse head);
  static void whole(const GenerationParts& parts, std::shared_ptr<HttpExchange> exchange, std::vector<Request> requests,
                    Answer answer, Finish finish);

  Generation(const GenerationParts& parts, std::shared_ptr<HttpExchange> exchange, Answer answer, std::size_t choices,
             Finish finish);

 private:
  using Clock = std::chrono::steady_clock;

  void submit(std::vector<Request> requests);
  void watch();
  bool take(std::size_t choice, RequestEvent&& event);
  void measure(std::size_t choice, const RequestEvent& event);
  HttpPiece pull();
  void end_by(const std::exception_ptr& error);
  void cancel();
  void cancel_all_later();
  void tell();

  GenerationParts parts_;
  std::shared_ptr<HttpExchange> exchange_;
  Finish finish_;  // nothing: a stream
  const Clock::time_point start_ = Clock::now();

  std::mutex mutex_;  // guards what follows
  Answer answer_;
  std::vector<RequestId> ids_ = {};
  std::vector<Clock::time_point> latest_;  // token of each choice; the epoch before its first
  bool is_cancelled_ = false;
  bool is_told_ = false;  // the exchange knows of what answer_ holds, or of its end
};

}  // namespace mslt::serve
