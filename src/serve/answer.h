// Answer: what a client gets for an ApiRequest, as one JSON document or as a stream of server-sent events.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "mslt/engine.h"
#include "serve/json_body.h"
#include "serve/tool_calls.h"

namespace mslt::serve {

struct AnswerOptions {
  std::string id = {};     // "chatcmpl-..."
  std::string model = {};  // its name
  std::int64_t created = 0;
  bool is_chat = false;
  bool include_usage = false;
  ToolCallStyle tool_calls = ToolCallStyle::none;  // of the calls that are looked for
  bool opens_call = false;                         // the prompts end in call_opening
  std::optional<std::int64_t> logprobs = {};
  std::int64_t choices_per_prompt = 1;
  std::vector<std::string> echoes = {};  // of each prompt, to begin its answers with; or nothing
};

// Gathers the events of an engine's requests, one per choice. One thread at a time.
class Answer {
 public:
  Answer(AnswerOptions options, std::size_t choices, Tokenizer tokenizer);

  // Cheap: formats nothing, so an engine's thread may call it.
  void add(std::size_t choice, RequestEvent&& event);
  // Ends the answer with an error, unless it already has one.
  void fail(const std::exception_ptr& error);
  // Whether the last event of each choice was added, or the first that reports an error.
  bool has_ended() const;
  // The error that a choice ended with, or nothing.
  const std::exception_ptr& error() const { return error_; }
  // About how much memory holds what was added and not yet taken.
  std::size_t pending_bytes() const { return pending_bytes_; }

  // As a stream: the events for all that was added since the last call; at the end the final ones.
  std::string take_events();
  // As one document, when it has ended. Throws ApiError if a choice failed.
  Json document();

 private:
  struct Choice {
    std::string text = {};
    std::vector<DrawnToken> tokens = {};
    std::optional<RequestSummary> end = {};
    ToolCallReader reader = ToolCallReader();
    std::size_t calls = 0;
    std::int64_t text_bytes = 0;  // of the tokens shown before, for old log probabilities
    bool has_begun = false;
    bool is_told = false;  // its end was streamed
  };
  ToolCallReader::Found take_text(Choice& choice);
  Json take_logprobs(Choice& choice);
  Json chat_logprobs(const std::vector<DrawnToken>& tokens) const;
  Json old_logprobs(Choice& choice, const std::vector<DrawnToken>& tokens) const;
  Json calls_of(std::size_t index, Choice& choice, const std::vector<ToolCall>& calls, bool is_delta) const;
  Json head(bool is_chunk) const;
  std::string chunk(std::size_t index, Json delta_or_text, Json logprobs, Json finish_reason) const;
  std::string chat_events(std::size_t index, Choice& choice);
  std::string text_events(std::size_t index, Choice& choice);
  std::string echo_of(std::size_t index) const;
  Json usage() const;

  AnswerOptions options_;
  Tokenizer tokenizer_;
  std::vector<Choice> choices_;
  std::exception_ptr error_;
  std::size_t pending_bytes_ = 0;
  bool is_done_ = false;
};

// One server-sent event with this JSON.
std::string server_event(const Json& data);

}  // namespace mslt::serve
