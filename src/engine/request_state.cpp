// Checks, draws and the end of a request.
#include "engine/request_state.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "text/token_label.h"

namespace mslt {
namespace {

void check_prompt(const Request& request, const RequestRules& rules) {
  if (request.prompt.empty()) fail(ErrorKind::input, "The prompt is empty; it needs at least one token.");
  for (const TokenId id : request.prompt) {
    if (std::cmp_less(id, rules.vocab_size)) continue;
    fail(ErrorKind::input, "The prompt holds {}, but the model's vocabulary ends at {}.",
         token_label(*rules.tokenizer, id), rules.vocab_size);
  }
  if (std::cmp_greater(request.prompt.size(), rules.max_positions)) {
    fail(ErrorKind::input, "The prompt has {} tokens, the model's context holds {}.", request.prompt.size(),
         rules.max_positions);
  }
}

const Request& checked(const Request& request, const RequestRules& rules) {
  check_prompt(request, rules);
  return request;
}

}  // namespace

RequestState::RequestState(RequestId id, Request request, RequestSink sink, const RequestRules& rules)
    : id_(id),
      sink_(std::move(sink)),
      prompt_size_(static_cast<std::int64_t>(checked(request, rules).prompt.size())),
      max_new_tokens_(request.max_new_tokens),
      max_positions_(rules.max_positions),
      history_(request.prompt.begin(), request.prompt.end()),
      text_(*rules.tokenizer, request.prompt,
            request.ignore_eos ? std::span<const TokenId>() : std::span<const TokenId>(rules.eos_ids), request.stop),
      sampler_(request, rules.choices, rules.excluded) {
  summary_.prompt_tokens = prompt_size_;
}

void RequestState::start(int slot, std::int64_t cached) {
  slot_ = slot;
  if (started_) return;
  started_ = Clock::now();
  summary_.queue_seconds = std::chrono::duration<double>(*started_ - submitted_).count();
  summary_.cached_prompt_tokens = cached;
}

void RequestState::put_back() {
  slot_ = -1;
}

RequestEvent RequestState::add(DrawnToken drawn) {
  RequestEvent event;
  event.tokens.push_back(std::move(drawn));
  if (!first_token_) {
    first_token_ = Clock::now();
    summary_.prefill_seconds = std::chrono::duration<double>(*first_token_ - *started_).count();
  }
  ++summary_.new_tokens;
  const TokenId token = event.tokens.back().drawn.token;
  history_.push_back(static_cast<std::int32_t>(token));
  event.text = text_.push(token);
  if (!text_.reason() && sampler_.must_end()) event.text += text_.finish(FinishReason::eos);
  if (!text_.reason() && (summary_.new_tokens >= max_new_tokens_ || length() >= max_positions_)) {
    event.text += text_.finish(FinishReason::length);
  }
  if (text_.reason()) end(event);
  return event;
}

RequestEvent RequestState::end_at_once() {
  RequestEvent event;
  event.text = text_.finish(max_new_tokens_ == 0 ? FinishReason::length : FinishReason::eos);
  end(event);
  return event;
}

void RequestState::end(RequestEvent& event) {
  summary_.reason = *text_.reason();
  const Clock::time_point now = Clock::now();
  if (first_token_) summary_.decode_seconds = std::chrono::duration<double>(now - *first_token_).count();
  if (!started_) summary_.queue_seconds = std::chrono::duration<double>(now - submitted_).count();
  event.end = summary_;
}

}  // namespace mslt
