// Conversations from JSON.
#include "serve/api_messages.h"

#include <fmt/format.h>

#include <ctime>

#include "serve/api_error.h"

namespace mslt::serve {
namespace {

std::string joined_parts(const Json& parts, const std::string& member) {
  std::string text;
  bool is_first = true;
  for (const Json& part : parts) {
    const bool is_text = part.is_object() && part.contains("text") && part["text"].is_string() &&
                         part.contains("type") && (part["type"] == "text" || part["type"] == "input_text");
    if (!is_text) refuse_member(member, fmt::format("{} may only have parts of type text.", member));
    if (!is_first) text += '\n';
    text += part["text"].get_ref<const std::string&>();
    is_first = false;
  }
  return text;
}

// Clients send the arguments of earlier calls as JSON in a string.
void read_calls(Json& calls, const std::string& member) {
  if (calls.is_null()) return;
  if (!calls.is_array()) refuse_member(member, fmt::format("{} must be an array.", member));
  for (Json& call : calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
      refuse_member(member, fmt::format("{} must hold calls of functions.", member));
    }
    Json& function = call["function"];
    if (!function.contains("arguments") || !function["arguments"].is_string()) continue;
    try {
      Json arguments = parse_body(function["arguments"].get_ref<const std::string&>());
      function["arguments"] = std::move(arguments);
    } catch (const ApiError&) {
      // What a model once wrote need not be JSON; the template then shows it as it is.
      continue;
    }
  }
}

Json read_message(Json message, const std::string& member) {
  if (!message.is_object()) refuse_member(member, fmt::format("{} must be an object.", member));
  if (!message.contains("role") || !message["role"].is_string()) {
    refuse_member(member + ".role", fmt::format("{}.role must be a string.", member));
  }
  if (message.contains("content")) {
    Json& content = message["content"];
    if (content.is_array()) {
      content = joined_parts(content, member + ".content");
    } else if (!content.is_string() && !content.is_null()) {
      refuse_member(member + ".content", fmt::format("{}.content must be a string or an array of parts.", member));
    }
  } else if (!message.contains("tool_calls")) {
    refuse_member(member + ".content", fmt::format("{}.content is missing.", member));
  }
  if (message.contains("tool_calls")) read_calls(message["tool_calls"], member + ".tool_calls");
  return message;
}

Json read_tools(const Members& members) {
  const Json* tools = members.array("tools");
  if (tools == nullptr || tools->empty()) return {};
  for (const Json& tool : *tools) {
    const bool is_function = tool.is_object() && tool.contains("function") && tool["function"].is_object() &&
                             tool["function"].contains("name") && tool["function"]["name"].is_string();
    if (!is_function)
      refuse_member("tools",
                    "tools must hold functions: {\"type\": \"function\", \"function\": "
                    "{\"name\": ...}}.");
  }
  return *tools;
}

}  // namespace

ChatInput read_conversation(const Members& members) {
  const Json* messages = members.array("messages");
  if (messages == nullptr || messages->empty()) refuse_member("messages", "messages must hold at least one message.");
  ChatInput input;
  for (std::size_t i = 0; i < messages->size(); ++i) {
    input.messages.push_back(read_message((*messages)[i], fmt::format("messages[{}]", i)));
  }
  input.tools = read_tools(members);
  if (const Json* documents = members.array("documents")) input.documents = *documents;
  if (const Json* variables = members.object("chat_template_kwargs")) input.variables = *variables;
  input.add_generation_prompt = members.boolean("add_generation_prompt").value_or(true);
  input.now = std::time(nullptr);
  return input;
}

}  // namespace mslt::serve
