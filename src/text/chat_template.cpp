// Rendering chat templates by the interpreter in jinja/.
#include "text/chat_template.h"

#include <utility>
#include <vector>

#include "base/fail.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json_text.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace mslt {

struct ChatTemplate::Program {
  std::string name;
  ChatLimits limits;
  jinja::NodePtr root;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string name, ChatLimits limits) {
  if (source.size() > limits.source_bytes) {
    fail(ErrorKind::input, "{} has {} bytes; at most {} are allowed.", name, source.size(), limits.source_bytes);
  }
  if (!is_utf8(source)) fail(ErrorKind::input, "{} is not valid UTF-8.", name);
  auto program = std::make_shared<Program>(Program{std::move(name), limits, nullptr});
  try {
    program->root = jinja::parse(source, limits.depth);
  } catch (const jinja::SyntaxFailure& failure) {
    fail(ErrorKind::input, "{}, line {}: {}.", program->name, failure.line(), failure.what());
  } catch (const jinja::Failure& failure) {
    fail(ErrorKind::input, "{}: {}.", program->name, failure.what());
  }
  program_ = std::move(program);
}

ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const ChatInput& input) const {
  jinja::Interpreter interpreter(program_->limits, input.now);
  try {
    std::vector<std::pair<std::string, jinja::Value>> variables;
    const auto add = [&](const std::string& name, const nlohmann::ordered_json& value) {
      variables.emplace_back(name, jinja::value_from_json(value, interpreter.budget()));
    };
    add("messages", input.messages);
    add("tools", input.tools);
    add("documents", input.documents);
    add("add_generation_prompt", input.add_generation_prompt);
    for (const auto& [name, value] : input.variables.items()) add(name, value);
    return interpreter.render(*program_->root, std::move(variables));
  } catch (const jinja::Raised& raised) {
    // The template's own words for the one who wrote the conversation.
    throw Error(ErrorKind::input, raised.what());
  } catch (const jinja::Failure& failure) {
    fail(ErrorKind::input, "{}, line {}: {}.", program_->name, interpreter.line(), failure.what());
  }
}

}  // namespace mslt
