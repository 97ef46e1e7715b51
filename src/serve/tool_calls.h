// ToolCallReader: finds the calls of tools in an answer while it is being written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mslt::serve {

struct ToolCall {
  std::string name;
  std::string arguments;  // a JSON object
};

// For the style of Hermes: <tool_call>{"name": ..., "arguments": {...}}</tool_call>. What looks like a call but is not
// one stays text. A value type.
class ToolCallReader {
 public:
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
  std::string held_;
};

}  // namespace mslt::serve
