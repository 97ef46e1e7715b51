// ToolCallReader: finds the calls of tools in an answer while it is being written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mslt::serve {

// How a model spells its calls of tools.
enum class ToolCallStyle {
  none,     // not known: calls stay text
  hermes,   // <tool_call>{"name": ..., "arguments": {...}}</tool_call>, as Hermes 2 Pro, Qwen2.5, Qwen3 and SmolLM3
  llama,    // {"name": ..., "parameters": {...}} as the whole answer, as Llama 3.1 and later
  mistral,  // [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...] as the whole answer, up to Mistral Small 3.1
};

// The style that a chat template's source teaches.
ToolCallStyle tool_call_style(std::string_view chat_template);

// What an answer begins with that is to be a call, before the JSON.
std::string_view call_opening(ToolCallStyle style);

struct ToolCall {
  std::string name;
  std::string arguments;  // a JSON object
};

// What looks like a call but is not one stays text. A value type.
class ToolCallReader {
 public:
  // With `is_opened`, call_opening stood before the answer.
  explicit ToolCallReader(ToolCallStyle style = ToolCallStyle::none, bool is_opened = false);

  struct Found {
    std::string text = {};
    std::vector<ToolCall> calls = {};
  };
  // What the answer so far makes certain. Text that may belong to a call is held back, and so is white space before
  // one, which is dropped.
  Found push(std::string_view text);
  // The rest, at the answer's end. A call may lack its closing tag.
  Found finish();

 private:
  Found push_tagged(std::string_view text);
  Found finish_tagged();
  // Answers that are calls as a whole or not at all.
  Found push_whole(std::string_view text);
  Found finish_whole();

  ToolCallStyle style_;
  bool is_opened_;
  bool is_text_ = false;  // it cannot be a call any more
  std::string held_;
};

}  // namespace mslt::serve
