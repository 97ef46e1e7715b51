// ServedModel: what the API needs to know of a model, apart from the engine that computes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mslt/engine.h"
#include "mslt/tokenizer.h"
#include "serve/json_body.h"
#include "text/chat_template.h"

namespace mslt::serve {

// How a model spells its calls of tools.
enum class ToolCallStyle {
  none,    // not known: calls stay text
  hermes,  // <tool_call>{"name": ..., "arguments": {...}}</tool_call>, as Hermes 2 Pro, Qwen2.5 and Qwen3
};

// The functions may be called by several threads.
struct ServedModel {
  std::string id;            // as clients name it
  std::int64_t created = 0;  // Unix time
  Tokenizer tokenizer;
  std::vector<TokenId> text_prefix = {};  // before each text that is not a conversation
  std::int64_t context = 0;               // most tokens of a prompt with its answer
  std::int64_t vocab_size = 0;            // ids that the model takes
  std::int64_t max_prompt_tokens = 0;     // 0: what the context holds
  // The ids of a conversation. Nothing: the model has no chat template.
  std::function<std::vector<TokenId>(const ChatInput&)> chat_tokens = {};
  ToolCallStyle tool_calls = ToolCallStyle::none;
  // What makes constraints to the texts of a JSON schema, or, given null, to any JSON object; throws Error(input) for
  // what it does not support. Nothing: constraints are refused.
  std::function<std::function<std::unique_ptr<TokenConstraint>()>(const Json& schema)> json_constraints = {};
};

// The style that a template's source teaches.
ToolCallStyle tool_call_style(std::string_view chat_template);

}  // namespace mslt::serve
