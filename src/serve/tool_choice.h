// tool_choice: whether an answer may, must or must not call tools, and the calls that it may consist of.
#pragma once

#include <string>

#include "serve/json_body.h"
#include "serve/tool_calls.h"

namespace mslt::serve {

struct ToolChoice {
  bool allows_calls = true;
  bool forces_call = false;
  bool forces_one = false;  // not several at a time
  std::string name = {};    // of the only tool that may be called; empty: any
};

// From tool_choice ("none", "auto", "required" or a function's name) and parallel_tool_calls. `tools`: the request's,
// or null. Throws ApiError(400) for other values and for a tool that is not among them.
ToolChoice read_tool_choice(const Members& members, const Json& tools);

// The JSON schema of a forced call of `tools` in a style, behind its call_opening. Throws ApiError(400) for a style
// that is not known, and for parameters that are not the schema of an object.
Json call_schema(const ToolChoice& choice, const Json& tools, ToolCallStyle style);

}  // namespace mslt::serve
