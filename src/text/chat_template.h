// ChatTemplate: the text of a conversation, as a model's Jinja template writes it.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>

namespace mslt {

// What a template is rendered with, as transformers' apply_chat_template passes it.
struct ChatInput {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;      // an array, or null
  nlohmann::ordered_json documents;  // an array, or null
  bool add_generation_prompt = true;
  // Other variables of the template: bos_token, eos_token, and what a caller adds (enable_thinking and the like).
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  std::time_t now = 0;  // for strftime_now, in local time
};

// Bounds against hostile templates.
struct ChatLimits {
  std::size_t steps = 10'000'000;        // nodes executed and elements visited
  std::size_t output_bytes = 64u << 20;  // of the text, and of any value on the way
  std::size_t depth = 200;               // of nested expressions, blocks and macro calls
  std::size_t source_bytes = 4u << 20;
};

// A template in the language of Jinja 3 with what transformers sets: trim_blocks, lstrip_blocks, loop controls, tojson,
// raise_exception, strftime_now and generation blocks. Immutable; may be used by several threads.
class ChatTemplate {
 public:
  // Throws Error(input) naming `name`, the line and what is wrong or not supported.
  explicit ChatTemplate(std::string_view source, std::string name = "the chat template", ChatLimits limits = {});
  ChatTemplate(const ChatTemplate&) = default;
  ChatTemplate& operator=(const ChatTemplate&) = default;
  ~ChatTemplate();

  // Throws Error(input) with the text of raise_exception, for what Jinja refuses (an undefined value's member, say,
  // with its line), and for more than the limits.
  std::string render(const ChatInput& input) const;

 private:
  struct Program;
  std::shared_ptr<const Program> program_;
};

}  // namespace mslt
