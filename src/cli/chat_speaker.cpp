// Answers from a model, by an engine that keeps the conversation in its cache.
#include "cli/chat_speaker.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <mutex>
#include <utility>

#include "mslt/error.h"

namespace mslt::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t least_cache = 1024;  // tokens
constexpr std::chrono::milliseconds patience{50};

// Events on their way from the engine's thread to the one that shows them.
class Events {
 public:
  void push(RequestEvent&& event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    has_news_.notify_one();
  }
  // The oldest; an event of nothing if none comes for a moment.
  RequestEvent pop() {
    std::unique_lock lock(mutex_);
    if (!has_news_.wait_for(lock, patience, [&] { return !events_.empty(); })) return {};
    RequestEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable has_news_;
  std::deque<RequestEvent> events_;
};

// Ends a request that nobody listens to any more.
class RequestGuard {
 public:
  RequestGuard(Engine& engine, RequestId id) : engine_(engine), id_(id) {}
  RequestGuard(const RequestGuard&) = delete;
  RequestGuard& operator=(const RequestGuard&) = delete;
  ~RequestGuard() { engine_.cancel(id_); }

 private:
  Engine& engine_;
  RequestId id_;
};

double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

}  // namespace

ModelSpeaker::ModelSpeaker(Model& model, std::optional<ModelChat> chat) : model_(model), chat_(std::move(chat)) {}

std::vector<TokenId> ModelSpeaker::encode(const nlohmann::ordered_json& messages) const {
  if (chat_) {
    ChatInput input;
    input.messages = messages;
    input.now = std::time(nullptr);
    return chat_->tokens(input);
  }
  std::string text;
  for (const auto& message : messages) text += message.value("content", "");
  std::vector<TokenId> ids(model_.text_prefix().begin(), model_.text_prefix().end());
  model_.tokenizer().encode_append(text, ids);
  return ids;
}

// The cache doubles as a conversation grows, so that each turn is computed again a few times at most.
Engine& ModelSpeaker::engine_for(std::int64_t tokens) {
  if (engine_ && tokens <= cache_positions_) return *engine_;
  engine_.reset();  // its memory first
  const auto make = [&](std::int64_t positions) {
    engine_ = make_engine(model_, {.max_running = 1, .max_queued = 1, .cache_positions = positions});
    cache_positions_ = positions;
  };
  const auto doubled =
      static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max(tokens, least_cache))));
  try {
    make(std::min(doubled, context()));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    make(tokens);
  }
  return *engine_;
}

ChatAnswer ModelSpeaker::answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                                const std::function<bool(std::string_view)>& on_text) {
  const Clock::time_point start = Clock::now();
  Engine& engine = engine_for(static_cast<std::int64_t>(prompt.size()) + options.max_new_tokens);
  const auto events = std::make_shared<Events>();
  const RequestId id = engine.submit({.prompt = prompt,
                                      .sampling = options.sampling,
                                      .max_new_tokens = options.max_new_tokens,
                                      .stop = options.stop,
                                      .ignore_eos = options.ignore_eos},
                                     [events](RequestEvent&& event) {
                                       events->push(std::move(event));
                                       return true;
                                     });
  const RequestGuard guard(engine, id);
  ChatAnswer answer;
  answer.reason = FinishReason::cancelled;
  answer.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  std::optional<Clock::time_point> first;
  bool goes_on = true;
  while (goes_on) {
    const RequestEvent event = events->pop();
    if (event.error) std::rethrow_exception(event.error);
    const Clock::time_point now = Clock::now();
    if (!event.tokens.empty()) {
      answer.new_tokens += std::ssize(event.tokens);
      if (!first) first = now;
      answer.decode_seconds = seconds_between(*first, now);
    }
    answer.prefill_seconds = seconds_between(start, first.value_or(now));
    answer.text += event.text;
    goes_on = on_text(event.text) && !event.end;
    if (event.end) {
      answer.reason = event.end->reason;
      answer.cached_prompt_tokens = event.end->cached_prompt_tokens;
    }
  }
  return answer;
}

}  // namespace mslt::cli
