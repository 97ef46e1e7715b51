// Fuzzes chat templates: any text is rendered within the bounds, or refused with an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mslt/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mslt::ChatLimits limits;
  limits.steps = 20'000;
  limits.output_bytes = 1U << 16;
  mslt::ChatInput input;
  input.messages = {
      {{"role", "system"}, {"content", " be brief\n"}},
      {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "żółć"}}}}},
      {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {{{"name", "f"}, {"arguments", {{"a", 1.5}}}}}}}};
  input.tools = {{{"type", "function"}, {"function", {{"name", "f"}}}}};
  input.variables = {{"bos_token", "<s>"}, {"n", 7}};
  try {
    const mslt::ChatTemplate parsed(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits);
    parsed.render(input);
  } catch (const mslt::Error&) {
    return 0;
  }
  return 0;
}
