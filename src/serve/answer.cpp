// Responses in the form of OpenAI's API.
#include "serve/answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"
#include "serve/api_error.h"

namespace mslt::serve {
namespace {

// A token's logarithm is at least that, so that JSON can hold it.
constexpr float least_logprob = -9999.0f;

const char* finish_reason(const RequestSummary& end, bool has_calls) {
  switch (end.reason) {
    case FinishReason::length:
      return "length";
    case FinishReason::eos:
    case FinishReason::stop:
    case FinishReason::cancelled:
      break;
  }
  return has_calls ? "tool_calls" : "stop";
}

float shown(float logprob) {
  return logprob >= least_logprob ? logprob : least_logprob;
}

Json token_entry(const TokenLogprob& token, const Tokenizer& tokenizer) {
  const std::string_view bytes = tokenizer.token_bytes(token.token);
  Json values = Json::array();
  for (const char byte : bytes) values.push_back(static_cast<unsigned char>(byte));
  return {{"token", std::string(bytes)}, {"logprob", shown(token.logprob)}, {"bytes", std::move(values)}};
}

// Approximate, in bytes.
std::size_t size_of(const RequestEvent& event, bool with_logprobs) {
  std::size_t size = event.text.size();
  if (!with_logprobs) return size;
  for (const DrawnToken& token : event.tokens) {
    size += sizeof(DrawnToken) + token.most_likely.size() * sizeof(TokenLogprob);
  }
  return size;
}

}  // namespace

std::string server_event(const Json& data) {
  return "data: " + dump(data) + "\n\n";
}

Answer::Answer(AnswerOptions options, std::size_t choices, Tokenizer tokenizer)
    : options_(std::move(options)), tokenizer_(std::move(tokenizer)), choices_(choices) {
  for (Choice& choice : choices_) choice.reader = ToolCallReader(options_.tool_calls, options_.opens_call);
}

void Answer::add(std::size_t index, RequestEvent&& event) {
  Choice& choice = choices_[index];
  pending_bytes_ += size_of(event, options_.logprobs.has_value());
  choice.text += event.text;
  if (options_.logprobs) {
    // The token that ends a text is not part of it. A constraint may end it without one.
    const bool ends = event.end && event.end->reason == FinishReason::eos && !event.tokens.empty();
    if (ends && tokenizer_.is_special(event.tokens.back().drawn.token)) event.tokens.pop_back();
    std::move(event.tokens.begin(), event.tokens.end(), std::back_inserter(choice.tokens));
  }
  if (event.end) choice.end = event.end;
  if (event.error) fail(event.error);
}

void Answer::fail(const std::exception_ptr& error) {
  if (!error_) error_ = error;
}

bool Answer::has_ended() const {
  return error_ != nullptr ||
         std::all_of(choices_.begin(), choices_.end(), [](const Choice& choice) { return choice.end.has_value(); });
}

ToolCallReader::Found Answer::take_text(Choice& choice) {
  std::string text = std::exchange(choice.text, {});
  ToolCallReader::Found found = choice.reader.push(text);
  if (choice.end) {
    ToolCallReader::Found rest = choice.reader.finish();
    found.text += rest.text;
    std::move(rest.calls.begin(), rest.calls.end(), std::back_inserter(found.calls));
  }
  return found;
}

Json Answer::take_logprobs(Choice& choice) {
  if (!options_.logprobs) return {};
  const std::vector<DrawnToken> tokens = std::exchange(choice.tokens, {});
  return options_.is_chat ? chat_logprobs(tokens) : old_logprobs(choice, tokens);
}

Json Answer::chat_logprobs(const std::vector<DrawnToken>& tokens) const {
  Json content = Json::array();
  for (const DrawnToken& token : tokens) {
    Json entry = token_entry(token.drawn, tokenizer_);
    Json top = Json::array();
    for (const TokenLogprob& other : token.most_likely) top.push_back(token_entry(other, tokenizer_));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json Answer::old_logprobs(Choice& choice, const std::vector<DrawnToken>& tokens) const {
  Json texts = Json::array();
  Json logprobs = Json::array();
  Json tops = Json::array();
  Json offsets = Json::array();
  for (const DrawnToken& token : tokens) {
    const std::string text = std::string(tokenizer_.token_bytes(token.drawn.token));
    texts.push_back(text);
    logprobs.push_back(shown(token.drawn.logprob));
    offsets.push_back(choice.text_bytes);
    choice.text_bytes += static_cast<std::int64_t>(text.size());
    Json top = Json::object();
    for (const TokenLogprob& other : token.most_likely) {
      top[utf8_text(tokenizer_.token_bytes(other.token))] = shown(other.logprob);
    }
    // OpenAI shows the drawn token as well.
    top[utf8_text(text)] = shown(token.drawn.logprob);
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

Json Answer::calls_of(std::size_t index, Choice& choice, const std::vector<ToolCall>& calls, bool is_delta) const {
  Json result = Json::array();
  for (const ToolCall& call : calls) {
    Json entry = Json::object();
    if (is_delta) entry["index"] = choice.calls;
    entry["id"] = fmt::format("call_{}_{}_{}", options_.id.substr(options_.id.find('-') + 1), index, choice.calls);
    entry["type"] = "function";
    entry["function"] = {{"name", call.name}, {"arguments", call.arguments}};
    result.push_back(std::move(entry));
    ++choice.calls;
  }
  return result;
}

Json Answer::head(bool is_chunk) const {
  const char* object = options_.is_chat ? (is_chunk ? "chat.completion.chunk" : "chat.completion") : "text_completion";
  return {{"id", options_.id}, {"object", object}, {"created", options_.created}, {"model", options_.model}};
}

std::string Answer::chunk(std::size_t index, Json delta_or_text, Json logprobs, Json finish_reason) const {
  Json event = head(true);
  event["choices"] = Json::array({{{"index", index},
                                   {options_.is_chat ? "delta" : "text", std::move(delta_or_text)},
                                   {"logprobs", std::move(logprobs)},
                                   {"finish_reason", std::move(finish_reason)}}});
  if (options_.include_usage) event["usage"] = nullptr;
  return server_event(event);
}

std::string Answer::chat_events(std::size_t index, Choice& choice) {
  std::string events;
  if (!std::exchange(choice.has_begun, true)) {
    events += chunk(index, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
  }
  const bool has_news = !choice.text.empty() || !choice.tokens.empty() || choice.end;
  if (!has_news) return events;
  const ToolCallReader::Found found = take_text(choice);
  Json logprobs = take_logprobs(choice);
  const bool has_logprobs = !logprobs.is_null() && !logprobs["content"].empty();
  if (!found.text.empty() || has_logprobs) {
    events += chunk(index, {{"content", found.text}}, std::move(logprobs), nullptr);
  }
  if (!found.calls.empty()) {
    events += chunk(index, {{"tool_calls", calls_of(index, choice, found.calls, true)}}, nullptr, nullptr);
  }
  if (choice.end) {
    choice.is_told = true;
    events += chunk(index, Json::object(), nullptr, finish_reason(*choice.end, choice.calls > 0));
  }
  return events;
}

std::string Answer::text_events(std::size_t index, Choice& choice) {
  std::string text = std::exchange(choice.text, {});
  if (!std::exchange(choice.has_begun, true)) {
    const std::string echo = echo_of(index);
    text.insert(0, echo);
  }
  std::string events;
  if (!text.empty() || !choice.tokens.empty()) events += chunk(index, std::move(text), take_logprobs(choice), nullptr);
  if (choice.end) {
    choice.is_told = true;
    events += chunk(index, "", nullptr, finish_reason(*choice.end, false));
  }
  return events;
}

std::string Answer::echo_of(std::size_t index) const {
  if (options_.echoes.empty()) return {};
  return options_.echoes[index / static_cast<std::size_t>(options_.choices_per_prompt)];
}

std::string Answer::take_events() {
  pending_bytes_ = 0;
  if (is_done_) return {};
  std::string events;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    if (!choice.is_told) events += options_.is_chat ? chat_events(i, choice) : text_events(i, choice);
  }
  if (error_) {
    is_done_ = true;
    return events + server_event(to_api_error(error_).body());
  }
  if (!has_ended()) return events;
  is_done_ = true;
  if (options_.include_usage) {
    Json last = head(true);
    last["choices"] = Json::array();
    last["usage"] = usage();
    events += server_event(last);
  }
  return events + "data: [DONE]\n\n";
}

Json Answer::document() {
  pending_bytes_ = 0;
  if (error_) throw to_api_error(error_);
  Json body = head(false);
  Json choices = Json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    Json entry = {{"index", i}};
    if (options_.is_chat) {
      const ToolCallReader::Found found = take_text(choice);
      const bool only_calls = found.text.empty() && !found.calls.empty();
      Json message = {{"role", "assistant"}, {"content", only_calls ? Json() : Json(found.text)}, {"refusal", nullptr}};
      if (!found.calls.empty()) message["tool_calls"] = calls_of(i, choice, found.calls, false);
      entry["message"] = std::move(message);
    } else {
      entry["text"] = echo_of(i) + choice.text;
    }
    entry["logprobs"] = take_logprobs(choice);
    entry["finish_reason"] = finish_reason(*choice.end, choice.calls > 0);
    choices.push_back(std::move(entry));
  }
  body["choices"] = std::move(choices);
  body["usage"] = usage();
  return body;
}

Json Answer::usage() const {
  std::int64_t prompt = 0;
  std::int64_t cached = 0;
  std::int64_t drawn = 0;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const RequestSummary end = choices_[i].end.value_or(RequestSummary{});
    drawn += end.new_tokens;
    // Each prompt counts once, however many answers it has.
    if (i % static_cast<std::size_t>(options_.choices_per_prompt) != 0) continue;
    prompt += end.prompt_tokens;
    cached += end.cached_prompt_tokens;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", drawn},
          {"total_tokens", prompt + drawn},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

}  // namespace mslt::serve
