// A request on its way through the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/request_sampler.h"
#include "generate/answer_text.h"
#include "mslt/engine.h"

namespace mslt {

// What all requests of an engine have in common.
struct RequestRules {
  const Tokenizer* tokenizer = nullptr;
  std::vector<TokenId> eos_ids;
  std::vector<TokenId> excluded;  // ids without a token, ascending
  std::int64_t choices = 0;       // ids from here on are never drawn
  std::int64_t vocab_size = 0;
  std::int64_t max_positions = 0;
};

// Used by the engine's thread; made by the one that submits.
class RequestState {
 public:
  // Throws as Engine::submit, but for a full queue.
  RequestState(RequestId id, Request request, RequestSink sink, const RequestRules& rules);

  RequestId id() const { return id_; }
  // All tokens so far: those that a cache must hold, and the last one to go on from.
  std::span<const std::int32_t> history() const { return history_; }
  std::int64_t length() const { return static_cast<std::int64_t>(history_.size()); }
  const RequestSink& sink() const { return sink_; }
  const RequestSummary& summary() const { return summary_; }

  // The slot of the cache, while it has one; -1 otherwise.
  int slot() const { return slot_; }
  // It has got a slot that holds so many positions already.
  void start(int slot, std::int64_t cached);
  // It has lost it.
  void put_back();
  // Whether it needs no token at all.
  bool is_done_at_once() const { return max_new_tokens_ == 0 || sampler_.must_end(); }
  // Draws the next token from the logits of the last one. The event has an end if that is its last. Throws as
  // RequestSampler::draw.
  RequestEvent draw(std::span<float> logits) { return add(sampler_.draw(logits, history_, text_.ends())); }
  // The same where a device draws: see RequestSampler.
  bool needs_logits() const { return sampler_.needs_logits(); }
  RowDraw row_draw() { return sampler_.row_draw(history_, text_.ends()); }
  RequestEvent accept(TokenId token) { return add(sampler_.accept(token, text_.ends())); }
  // The last event of a request that needs no token.
  RequestEvent end_at_once();

 private:
  using Clock = std::chrono::steady_clock;

  // The event of another token.
  RequestEvent add(DrawnToken drawn);
  void end(RequestEvent& event);

  RequestId id_;
  RequestSink sink_;
  std::int64_t prompt_size_;
  std::int64_t max_new_tokens_;
  std::int64_t max_positions_;
  std::vector<std::int32_t> history_;
  AnswerText text_;
  RequestSampler sampler_;
  int slot_ = -1;
  RequestSummary summary_;
  Clock::time_point submitted_ = Clock::now();
  std::optional<Clock::time_point> started_;
  std::optional<Clock::time_point> first_token_;
};

}  // namespace mslt
