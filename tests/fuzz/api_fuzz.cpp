// Fuzzes the bodies of requests: each is refused with a status of 4xx or becomes requests that are in range, and what
// the answer to it says is JSON. The same bytes are an answer in which calls of tools are looked for.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/answer.h"
#include "serve/api_error.h"
#include "serve/api_request.h"
#include "serve/tool_calls.h"

namespace {

using namespace mslt;
using namespace mslt::serve;

void require(bool condition) {
  if (!condition) std::abort();
}

ServedModel make_model() {
  ServedModel model{.id = "tiny", .tokenizer = Tokenizer::train_on_text("zqzqzqzqzqzq", {.vocab_size = 260})};
  model.context = 200;
  model.vocab_size = 260;
  model.tool_calls = ToolCallStyle::hermes;
  model.chat_tokens = [tokenizer = model.tokenizer](const ChatInput& input) {
    return tokenizer.encode(dump(input.messages) + dump(input.tools));
  };
  return model;
}

void check(const std::vector<Request>& requests, const ApiRequest& request, const ServedModel& model) {
  require(!requests.empty() && requests.size() <= 128);
  for (const Request& one : requests) {
    one.sampling.validate();
    require(!one.prompt.empty() && one.max_new_tokens > 0);
    require(static_cast<std::int64_t>(one.prompt.size()) + one.max_new_tokens <= model.context);
    for (const TokenId id : one.prompt) require(id < model.vocab_size);
  }
  Answer answer({.id = "chatcmpl-0",
                 .model = "tiny",
                 .is_chat = request.is_chat,
                 .tool_calls = request.tool_calls,
                 .opens_call = request.forces_call},
                requests.size(), model.tokenizer);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    RequestEvent event;
    event.text = model.tokenizer.decode(requests[i].prompt);
    event.end = RequestSummary{};
    answer.add(i, std::move(event));
  }
  require(Json::accept(dump(answer.document())));
}

void read(std::string_view text, const ServedModel& model, ApiRequest (*reader)(const Json&, const ServedModel&)) {
  try {
    const ApiRequest request = reader(parse_body(text), model);
    check(engine_requests(request, model, 1), request, model);
  } catch (const ApiError& error) {
    require(error.status() == 400 || error.status() == 404);
    require(Json::accept(dump(error.body())));
  }
}

// However the text is cut, the same text and the same calls are found.
void look_for_calls(std::string_view text, ToolCallStyle style, bool is_opened) {
  const auto found_in = [&](std::size_t step) {
    ToolCallReader reader(style, is_opened);
    std::string said;
    std::string calls;
    const auto take = [&](const ToolCallReader::Found& found) {
      said += found.text;
      for (const ToolCall& call : found.calls) calls += "\x01" + call.name + "\x02" + call.arguments;
    };
    for (std::size_t at = 0; at < text.size(); at += step) take(reader.push(text.substr(at, step)));
    take(reader.finish());
    return std::pair(said, calls);
  };
  require(found_in(1) == found_in(text.size() + 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ServedModel model = make_model();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read(text, model, read_completion);
  read(text, model, read_chat);
  if (size >= 4096) return 0;
  for (const ToolCallStyle style : {ToolCallStyle::hermes, ToolCallStyle::llama, ToolCallStyle::mistral}) {
    look_for_calls(text, style, false);
    look_for_calls(text, style, true);
  }
  return 0;
}
