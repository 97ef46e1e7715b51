// Calls of tools in the styles of Hermes, Llama and Mistral.
#include "serve/tool_calls.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "serve/api_error.h"
#include "serve/json_body.h"

namespace mslt::serve {
namespace {

constexpr std::string_view open_tag = "<tool_call>";
constexpr std::string_view close_tag = "</tool_call>";
constexpr std::string_view calls_mark = "[TOOL_CALLS]";
constexpr std::string_view white_space = " \t\r\n";

std::string_view without_space_before(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(white_space), text.size()));
}

std::optional<ToolCall> read_call(const Json& call, bool needs_arguments) {
  if (!call.is_object() || !call.contains("name") || !call["name"].is_string()) return {};
  const char* member = call.contains("arguments") ? "arguments" : "parameters";
  if (needs_arguments && !call.contains(member)) return {};
  const Json arguments = call.contains(member) ? call[member] : Json::object();
  if (!arguments.is_object()) return {};
  return ToolCall{call["name"].get<std::string>(), dump(arguments)};
}

std::optional<ToolCall> read_call_text(std::string_view text) {
  try {
    return read_call(parse_body(text), false);
  } catch (const ApiError&) {
    return {};
  }
}

// The calls of an array of them; none if one of its elements is something else.
std::vector<ToolCall> read_array(std::string_view text) {
  std::vector<ToolCall> calls;
  try {
    const Json whole = parse_body(std::string(R"({"calls": )").append(text) + "}");
    if (!whole["calls"].is_array()) return {};
    for (const Json& element : whole["calls"]) {
      std::optional<ToolCall> call = read_call(element, true);
      if (!call) return {};
      calls.push_back(std::move(*call));
    }
  } catch (const ApiError&) {
    return {};
  }
  return calls;
}

// Llama separates several calls by semicolons.
std::vector<ToolCall> read_sequence(std::string_view text) {
  std::string list = "[" + std::string(text) + "]";
  std::vector<ToolCall> calls = read_array(list);
  if (!calls.empty()) return calls;
  for (std::size_t at = list.find(';'); at != std::string::npos; at = list.find(';', at + 1)) {
    const std::size_t next = list.find_first_not_of(white_space, at + 1);
    const std::size_t before = list.find_last_not_of(white_space, at - 1);
    if (list[next] == '{' && list[before] == '}') list[at] = ',';
    if (list[next] == ']' && next + 1 == list.size()) list[at] = ' ';
  }
  return read_array(list);
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

ToolCallReader::ToolCallReader(ToolCallStyle style, bool is_opened) : style_(style), is_opened_(is_opened) {
  if (is_opened && style == ToolCallStyle::hermes) held_ = open_tag;
}

ToolCallReader::Found ToolCallReader::push(std::string_view text) {
  if (style_ == ToolCallStyle::none) return {.text = std::string(text)};
  return style_ == ToolCallStyle::hermes ? push_tagged(text) : push_whole(text);
}

ToolCallReader::Found ToolCallReader::finish() {
  return style_ == ToolCallStyle::hermes ? finish_tagged() : finish_whole();
}

ToolCallReader::Found ToolCallReader::push_tagged(std::string_view text) {
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
    if (auto call = read_call_text(std::string_view(held_).substr(inside, close - inside))) {
      found.text += before.substr(0, end_of_text);
      found.calls.push_back(std::move(*call));
    } else {
      found.text += held_.substr(0, end);
    }
    held_.erase(0, end);
  }
}

ToolCallReader::Found ToolCallReader::finish_tagged() {
  Found found;
  const std::size_t open = held_.find(open_tag);
  std::optional<ToolCall> call;
  if (open != std::string::npos) call = read_call_text(std::string_view(held_).substr(open + open_tag.size()));
  if (call) {
    found.calls.push_back(std::move(*call));
  } else {
    // The opening of a call that was cut is not of the answer.
    found.text = is_opened_ && open == 0 ? held_.substr(open_tag.size()) : std::move(held_);
  }
  held_.clear();
  return found;
}

ToolCallReader::Found ToolCallReader::push_whole(std::string_view text) {
  if (is_text_) return {.text = std::string(text)};
  held_ += text;
  const std::string_view start = without_space_before(held_);
  if (start.empty() || start.front() == (style_ == ToolCallStyle::llama ? '{' : '[')) return {};
  is_text_ = true;
  return {.text = std::exchange(held_, {})};
}

ToolCallReader::Found ToolCallReader::finish_whole() {
  Found found;
  std::string_view text = without_space_before(held_);
  if (style_ == ToolCallStyle::mistral && text.starts_with(calls_mark)) text.remove_prefix(calls_mark.size());
  if (!is_text_) found.calls = style_ == ToolCallStyle::llama ? read_sequence(text) : read_array(text);
  if (found.calls.empty()) found.text = held_;
  held_.clear();
  return found;
}

std::string_view call_opening(ToolCallStyle style) {
  switch (style) {
    case ToolCallStyle::none:
    case ToolCallStyle::llama:
      return {};
    case ToolCallStyle::hermes:
      return "<tool_call>\n";
    case ToolCallStyle::mistral:
      return calls_mark;
  }
  return {};
}

ToolCallStyle tool_call_style(std::string_view chat_template) {
  const auto has = [&](std::string_view text) {
    return chat_template.find(text) != std::string_view::npos;
  };
  // Others have the same tags around other notations: Qwen3-Coder and GLM, or Mistral's later models.
  if (has("<function=") || has("<arg_key>") || has("[ARGS]")) return ToolCallStyle::none;
  if (has(open_tag)) return ToolCallStyle::hermes;
  if (has(calls_mark)) return ToolCallStyle::mistral;
  if (has("{\"name\": ") && has("\"parameters\": ")) return ToolCallStyle::llama;
  return ToolCallStyle::none;
}

}  // namespace mslt::serve
