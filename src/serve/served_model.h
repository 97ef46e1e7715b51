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
#include "serve/tool_calls.h"
#include "text/chat_template.h"

namespace mslt::serve {

// The functions may be called by several threads.
struct ServedModel {
  std::string id;            // as clients name it
  std::int64_t created = 0;  // Unix time
  Tokenizer tokenizer;
  std::vector<TokenId> text_prefix = {};  // before each text that is not a conversation
  std::int64_t context = 0;               // most tokens of a prompt with its answer
  std::int64_t vocab_size = 0;            // ids that the model takes
  std::int64_t max_prompt_tokens = 0;     // 0: what the context holds
  SamplingOptions sampling = {};          // what requests leave open
  // The ids of a conversation. Nothing: the model has no chat template.
  std::function<std::vector<TokenId>(const ChatInput&)> chat_tokens = {};
  ToolCallStyle tool_calls = ToolCallStyle::none;
  // What makes constraints to the texts of a JSON schema, or, given null, to any JSON object; throws Error(input) for
  // what it does not support. Nothing: constraints are refused.
  std::function<std::function<std::unique_ptr<TokenConstraint>()>(const Json& schema)> json_constraints = {};
};

}  // namespace mslt::serve
