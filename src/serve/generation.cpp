// From the engine's events to a response.
#include "serve/generation.h"

#include <utility>

#include "serve/api_error.h"

namespace mslt::serve {
namespace {

// Of an answer that waits for a slow client: about a hundred thousand tokens without log probabilities.
constexpr std::size_t most_pending_bytes = 1u << 20;
constexpr const char* ping = ": ping\n\n";

}  // namespace

Generation::Generation(const GenerationParts& parts, std::shared_ptr<HttpExchange> exchange, Answer answer,
                       std::size_t choices, Finish finish)
    : parts_(parts),
      exchange_(std::move(exchange)),
      finish_(std::move(finish)),
      answer_(std::move(answer)),
      latest_(choices) {}

void Generation::stream(const GenerationParts& parts, std::shared_ptr<HttpExchange> exchange,
                        std::vector<Request> requests, Answer answer, HttpResponse head) {
  const auto self =
      std::make_shared<Generation>(parts, std::move(exchange), std::move(answer), requests.size(), nullptr);
  self->submit(std::move(requests));
  self->exchange_->stream(std::move(head), ping, [self] { return self->pull(); });
  self->watch();
}

void Generation::whole(const GenerationParts& parts, std::shared_ptr<HttpExchange> exchange,
                       std::vector<Request> requests, Answer answer, Finish finish) {
  const auto self =
      std::make_shared<Generation>(parts, std::move(exchange), std::move(answer), requests.size(), std::move(finish));
  self->submit(std::move(requests));
  self->watch();
}

void Generation::submit(std::vector<Request> requests) {
  std::vector<RequestId> ids;
  try {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (parts_.engine.is_full()) {
        throw ApiError(429, "The server has too many requests in its queue; try again later.", {}, "queue_full");
      }
      ids.push_back(parts_.engine.submit(std::move(requests[i]), [self = shared_from_this(), i](RequestEvent&& event) {
        return self->take(i, std::move(event));
      }));
    }
  } catch (...) {
    {
      const std::scoped_lock lock(mutex_);
      is_cancelled_ = true;
    }
    for (const RequestId id : ids) parts_.engine.cancel(id);
    throw;
  }
  const std::scoped_lock lock(mutex_);
  ids_ = std::move(ids);
  // One of them failed before the others were known.
  if (std::exchange(is_cancelled_, false)) cancel_all_later();
}

void Generation::watch() {
  exchange_->on_abandon([self = shared_from_this()] { self->cancel(); });
  if (parts_.request_seconds <= 0.0) return;
  const auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(parts_.request_seconds));
  exchange_->on_deadline(start_ + limit, [self = shared_from_this()] {
    self->end_by(std::make_exception_ptr(
        ApiError(504, "The answer took longer than this server allows (--request-seconds).", {}, "timeout")));
  });
}

bool Generation::take(std::size_t choice, RequestEvent&& event) {
  const std::scoped_lock lock(mutex_);
  if (is_cancelled_) return false;
  measure(choice, event);
  answer_.add(choice, std::move(event));
  // The other choices of a failed answer are of no use.
  if (answer_.error()) cancel_all_later();
  if (finish_ == nullptr && answer_.pending_bytes() > most_pending_bytes) {
    answer_.fail(std::make_exception_ptr(ApiError(503, "The client reads too slowly.")));
    cancel_all_later();
  }
  tell();
  return true;
}

void Generation::measure(std::size_t choice, const RequestEvent& event) {
  if (event.tokens.empty()) return;
  const Clock::time_point now = Clock::now();
  const Clock::time_point before = std::exchange(latest_[choice], now);
  if (before == Clock::time_point{}) {
    parts_.metrics.observe_first_token(std::chrono::duration<double>(now - start_).count());
  } else {
    parts_.metrics.observe_tokens(std::chrono::duration<double>(now - before).count(), event.tokens.size());
  }
}

void Generation::tell() {
  if (is_told_) return;
  if (finish_ == nullptr) {
    is_told_ = true;
    exchange_->wake();
  } else if (answer_.has_ended()) {
    is_told_ = true;
    exchange_->run_in_background([self = shared_from_this()] {
      const std::scoped_lock lock(self->mutex_);
      self->exchange_->respond(self->finish_(self->answer_));
    });
  }
}

HttpPiece Generation::pull() {
  const std::scoped_lock lock(mutex_);
  is_told_ = false;
  HttpPiece piece{.bytes = answer_.take_events()};
  piece.last = answer_.has_ended();
  return piece;
}

void Generation::end_by(const std::exception_ptr& error) {
  const std::scoped_lock lock(mutex_);
  if (is_cancelled_ || answer_.has_ended()) return;
  parts_.metrics.count_abandoned();
  answer_.fail(error);
  cancel_all_later();
  tell();
}

void Generation::cancel() {
  const std::scoped_lock lock(mutex_);
  if (is_cancelled_ || answer_.has_ended()) return;
  parts_.metrics.count_abandoned();
  cancel_all_later();
}

void Generation::cancel_all_later() {
  if (std::exchange(is_cancelled_, true)) return;
  // The engine may wait for the end of a step, so not here. Its events until then are refused.
  exchange_->run_in_background([&engine = parts_.engine, ids = ids_] {
    for (const RequestId id : ids) engine.cancel(id);
  });
}

}  // namespace mslt::serve
