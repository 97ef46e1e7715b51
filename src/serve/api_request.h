// ApiRequest: a request to complete a text or a conversation, read from JSON in the form of OpenAI's API.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "mslt/engine.h"
#include "serve/json_body.h"
#include "serve/served_model.h"

namespace mslt::serve {

// What the answer is restricted to.
enum class AnswerFormat { text, json_object, json_schema };

using Prompt = std::variant<std::string, std::vector<TokenId>>;

struct ApiRequest {
  bool is_chat = false;
  std::vector<Prompt> prompts = {};  // of a completion
  ChatInput chat = {};               // of a chat
  // Of the calls that are looked for in the answer.
  ToolCallStyle tool_calls = ToolCallStyle::none;
  bool forces_call = false;  // the answer is a call that `call_schema` allows
  Json call_schema = {};
  std::int64_t n = 1;  // answers to each prompt
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  std::optional<std::int64_t> logprobs = {};
  AnswerFormat format = AnswerFormat::text;
  Json schema = {};
  // Settings of the engine's requests.
  SamplingOptions sampling = {};
  bool has_seed = false;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  std::optional<std::int64_t> max_new_tokens = {};
  std::vector<std::string> stop = {};
  bool ignore_eos = false;
};

// Reads the bodies of /v1/completions and /v1/chat/completions. Members that are not known are ignored. Throws
// ApiError: 404 for another model, 400 for what is not valid or not supported, naming the member.
ApiRequest read_completion(const Json& body, const ServedModel& model);
ApiRequest read_chat(const Json& body, const ServedModel& model);

// The engine's requests: n for each prompt, one after the other. `seed` is used where the client gave none. Throws
// ApiError(400) for prompts that do not fit the context (code context_length_exceeded), for a model without a chat
// template, and with what the template or the schema refuses.
std::vector<Request> engine_requests(const ApiRequest& request, const ServedModel& model, std::uint64_t seed);

// The ids of a text that is not a conversation, special tokens recognised, with the model's prefix unless the text has
// it already.
std::vector<TokenId> text_tokens(const std::string& text, const ServedModel& model);

}  // namespace mslt::serve
