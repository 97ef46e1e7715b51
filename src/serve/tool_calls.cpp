// Calls of tools in the style of Hermes.
#include "serve/tool_calls.h"

#include <algorithm>
#include <optional>

#include "serve/api_error.h"
#include "serve/json_body.h"
#include "serve/served_model.h"

namespace mslt::serve {
namespace {

constexpr std::string_view open_tag = "<tool_call>";
constexpr std::string_view close_tag = "</tool_call>";
constexpr std::string_view white_space = " \t\r\n";

std::optional<ToolCall> read_call(std::string_view text) {
  try {
    const Json call = parse_body(text);
    if (!call.contains("name") || !call["name"].is_string()) return {};
    const Json arguments = call.contains("arguments") ? call["arguments"] : Json::object();
    if (!arguments.is_object()) return {};
    return ToolCall{call["name"].get<std::string>(), dump(arguments)};
  } catch (const ApiError&) {
    return {};
  }
}

// Where the end of `text` begins that may still become white space and an opening tag.
std::size_t uncertain_from(std::string_view text) {
  std::size_t from = text.size();
  for (std::size_t length = std::min(text.size(), open_tag.size() - 1); length > 0; --length) {
    if (text.ends_with(open_tag.substr(0, length))) {
      from = text.size() - length;
      break;
    }
  }
  const std::size_t last = text.substr(0, from).find_last_not_of(white_space);
  return last == std::string_view::npos ? 0 : last + 1;
}

}  // namespace

ToolCallReader::Found ToolCallReader::push(std::string_view text) {
  held_ += text;
  Found found;
  while (true) {
    const std::size_t open = held_.find(open_tag);
    if (open == std::string::npos) {
      const std::size_t certain = uncertain_from(held_);
      found.text += held_.substr(0, certain);
      held_.erase(0, certain);
      return found;
    }
    const std::size_t inside = open + open_tag.size();
    const std::size_t close = held_.find(close_tag, inside);
    const std::string_view before = std::string_view(held_).substr(0, open);
    const std::size_t end_of_text = before.find_last_not_of(white_space) + 1;
    if (close == std::string::npos) {
      found.text += before.substr(0, end_of_text);
      held_.erase(0, end_of_text);
      return found;
    }
    const std::size_t end = close + close_tag.size();
    if (auto call = read_call(std::string_view(held_).substr(inside, close - inside))) {
      found.text += before.substr(0, end_of_text);
      found.calls.push_back(std::move(*call));
    } else {
      found.text += held_.substr(0, end);
    }
    held_.erase(0, end);
  }
}

ToolCallReader::Found ToolCallReader::finish() {
  Found found;
  const std::size_t open = held_.find(open_tag);
  std::optional<ToolCall> call;
  if (open != std::string::npos) call = read_call(std::string_view(held_).substr(open + open_tag.size()));
  if (call) {
    found.calls.push_back(std::move(*call));
  } else {
    found.text = std::move(held_);
  }
  held_.clear();
  return found;
}

ToolCallStyle tool_call_style(std::string_view chat_template) {
  // Qwen3-Coder has the same tags around another notation.
  const bool has_tags = chat_template.find(open_tag) != std::string_view::npos;
  return has_tags && chat_template.find("<function=") == std::string_view::npos ? ToolCallStyle::hermes
                                                                                : ToolCallStyle::none;
}

}  // namespace mslt::serve
