// An Engine and a model for tests of the server: it answers with its prompt, again and again, token by token.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/fail.h"
#include "mslt/engine.h"
#include "serve/served_model.h"

namespace mslt::serve {

class TestEngine final : public Engine {
 public:
  explicit TestEngine(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)), thread_([this] { run(); }) {}
  ~TestEngine() override {
    {
      const std::scoped_lock lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  RequestId submit(Request request, RequestSink sink) override {
    const auto lock = wait_for_turn();
    if (request.prompt.empty()) fail(ErrorKind::input, "The prompt is empty.");
    ++next_;
    last_ = {.prompt = request.prompt, .sampling = request.sampling};
    last_.max_new_tokens = request.max_new_tokens;
    running_.emplace(next_, Running{std::move(request), std::move(sink)});
    ++submitted;
    changed_.notify_all();
    return next_;
  }
  void cancel(RequestId id) override {
    const auto lock = wait_for_turn();
    if (running_.erase(id) > 0) ++cancelled;
    changed_.notify_all();
  }
  bool is_full() const override {
    const auto lock = wait_for_turn();
    return running_.size() >= capacity;
  }
  EngineStatistics statistics() const override {
    const auto lock = wait_for_turn();
    return {.running = static_cast<std::int64_t>(running_.size()), .finished = finished_, .cancelled = cancelled};
  }

  // While it is held, requests wait.
  void hold(bool held) {
    const std::scoped_lock lock(mutex_);
    is_held_ = held;
    changed_.notify_all();
  }
  // Waits until so many requests were cancelled or submitted. Long, for a machine that is busy.
  bool wait_for_cancelled(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, longest_wait, [&] { return cancelled >= count; });
  }
  bool wait_for_submitted(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, longest_wait, [&] { return submitted >= count; });
  }
  // Without its constraint.
  const Request& last() const { return last_; }

  std::size_t capacity = 100'000;
  std::int64_t fail_after = -1;       // tokens; negative: never
  std::chrono::microseconds pace{0};  // of a token of each request
  std::atomic<int> submitted{0};
  std::atomic<int> cancelled{0};

 private:
  static constexpr std::chrono::seconds longest_wait{100};

  struct Running {
    Request request;
    RequestSink sink;
    std::int64_t drawn = 0;
  };

  std::unique_lock<std::mutex> wait_for_turn() const {
    ++waiting_;
    std::unique_lock lock(mutex_);
    --waiting_;
    return lock;
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return is_ending_ || (!is_held_ && !running_.empty()); });
      if (is_ending_) return;
      for (auto at = running_.begin(); at != running_.end();) {
        if (step(at->second)) {
          ++at;
        } else {
          at = running_.erase(at);
        }
        changed_.notify_all();
      }
      // A mutex is not fair: who waits for it gets it first.
      lock.unlock();
      do {
        std::this_thread::sleep_for(pace);
      } while (waiting_ > 0);
      lock.lock();
    }
  }

  // Whether it goes on.
  bool step(Running& running) {
    const std::vector<TokenId>& prompt = running.request.prompt;
    RequestEvent event;
    if (running.drawn == fail_after) {
      event.error = std::make_exception_ptr(Error(ErrorKind::device, "The device failed."));
      running.sink(std::move(event));
      return false;
    }
    const TokenId token = prompt[static_cast<std::size_t>(running.drawn) % prompt.size()];
    event.text = tokenizer_.decode(std::vector<TokenId>{token});
    event.tokens.push_back({.drawn = {token, -0.5f}, .most_likely = {}});
    for (std::int64_t i = 0; i < running.request.logprobs.value_or(0); ++i) {
      event.tokens.back().most_likely.push_back({static_cast<TokenId>(i), -1.0f - static_cast<float>(i)});
    }
    ++running.drawn;
    const bool ends = running.drawn >= running.request.max_new_tokens;
    if (ends) {
      ++finished_;
      event.end = RequestSummary{.prompt_tokens = static_cast<std::int64_t>(prompt.size()),
                                 .cached_prompt_tokens = 1,
                                 .new_tokens = running.drawn};
    }
    if (running.sink(std::move(event))) return !ends;
    ++cancelled;
    return false;
  }

  Tokenizer tokenizer_;
  mutable std::mutex mutex_;
  mutable std::atomic<int> waiting_{0};
  std::condition_variable changed_;
  std::map<RequestId, Running> running_;
  RequestId next_ = 0;
  Request last_;
  std::int64_t finished_ = 0;
  bool is_held_ = false;
  bool is_ending_ = false;
  std::thread thread_;
};

// A model of bytes. Its template writes "role:content;" for each message.
inline ServedModel test_model() {
  ServedModel model{.id = "tiny", .tokenizer = Tokenizer::train_on_text("zqzqzqzqzqzq", {.vocab_size = 260})};
  model.created = 1;
  model.context = std::int64_t{1} << 40;
  model.vocab_size = 260;
  model.tool_calls = ToolCallStyle::hermes;
  model.chat_tokens = [tokenizer = model.tokenizer](const ChatInput& input) {
    std::string text;
    for (const Json& message : input.messages) {
      if (message["role"] == "bad") fail(ErrorKind::input, "The chat template refuses: unknown role.");
      text += message["role"].get<std::string>() + ":" + message.value("content", Json()).dump() + ";";
    }
    if (!input.tools.is_null()) text += "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";
    return tokenizer.encode(text);
  };
  return model;
}

}  // namespace mslt::serve
