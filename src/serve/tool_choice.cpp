// Forced calls of tools, as JSON schemas.
#include "serve/tool_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/printable.h"
#include "serve/api_error.h"

namespace mslt::serve {
namespace {

constexpr const char* valid_choices =
    "tool_choice must be none, auto, required or {\"type\": \"function\", \"function\": {\"name\": ...}}.";

// The name in {"type": "function", "function": {"name": ...}}.
std::string chosen_name(const Json& choice) {
  if (!choice.is_object() || choice.value("type", Json()) != "function") refuse_member("tool_choice", valid_choices);
  const Json function = choice.value("function", Json());
  if (!function.is_object() || !function.value("name", Json()).is_string()) {
    refuse_member("tool_choice", valid_choices);
  }
  return function["name"].get<std::string>();
}

// Makes references within `schema` point below `base`, which names the schema's place in another one.
void move_references(Json& schema, const std::string& base) {
  if (schema.is_object()) {
    for (const auto& [keyword, value] : schema.items()) {
      if (keyword == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with('#')) {
        value = base + value.get<std::string>().substr(1);
      } else if (keyword != "const" && keyword != "enum") {
        move_references(value, base);
      }
    }
  } else if (schema.is_array()) {
    for (Json& element : schema) move_references(element, base);
  }
}

// The schema of a function's arguments; without one, it takes none.
Json arguments_schema(const Json& function, std::size_t index) {
  Json schema = function.value("parameters", Json());
  if (schema.is_null()) return {{"type", "object"}, {"additionalProperties", false}};
  const auto refuse = [&] {
    refuse_member("tools", fmt::format("tools[{}].function.parameters must be the schema of an object.", index));
  };
  if (!schema.is_object()) refuse();
  constexpr std::array<const char*, 4> combining = {"$ref", "anyOf", "oneOf", "allOf"};
  const bool combines = std::ranges::any_of(combining, [&](const char* keyword) { return schema.contains(keyword); });
  if (!combines) {
    if (!schema.contains("type")) schema["type"] = "object";
    if (schema["type"] != "object") refuse();
    const bool has_none = schema.contains("properties") && schema["properties"].empty();
    if (has_none && !schema.contains("additionalProperties")) schema["additionalProperties"] = false;
  }
  move_references(schema, fmt::format("#/$defs/{}", index));
  return schema;
}

}  // namespace

ToolChoice read_tool_choice(const Members& members, const Json& tools) {
  ToolChoice result;
  result.forces_one = !members.boolean("parallel_tool_calls").value_or(true);
  const Json* choice = members.find("tool_choice");
  if (choice == nullptr || *choice == "auto") return result;
  if (*choice == "none") {
    result.allows_calls = false;
    return result;
  }
  result.forces_call = true;
  if (*choice != "required") {
    result.name = chosen_name(*choice);
    result.forces_one = true;
  }
  if (tools.is_null()) refuse_member("tool_choice", "tool_choice asks for a call, but there are no tools.");
  const bool is_known = result.name.empty() || std::ranges::any_of(tools, [&](const Json& tool) {
                          return tool["function"]["name"] == result.name;
                        });
  if (!is_known) {
    refuse_member("tool_choice",
                  fmt::format("tool_choice names {}, which is not among tools.", printable(result.name)));
  }
  return result;
}

Json call_schema(const ToolChoice& choice, const Json& tools, ToolCallStyle style) {
  if (style == ToolCallStyle::none) {
    refuse_member("tool_choice",
                  "The model's chat template spells calls of tools in no way that this server knows, so no call can be "
                  "forced; tool_choice may be none or auto.");
  }
  const char* arguments = style == ToolCallStyle::llama ? "parameters" : "arguments";
  Json calls = Json::array();
  Json definitions = Json::object();
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const Json& function = tools[i]["function"];
    if (!choice.name.empty() && function["name"] != choice.name) continue;
    const std::string key = std::to_string(i);
    definitions[key] = arguments_schema(function, i);
    calls.push_back(
        {{"type", "object"},
         {"properties", {{"name", {{"const", function["name"]}}}, {arguments, {{"$ref", "#/$defs/" + key}}}}},
         {"required", {"name", arguments}},
         {"additionalProperties", false}});
  }
  Json schema = {{"anyOf", std::move(calls)}};
  if (style == ToolCallStyle::mistral) {
    schema = {{"type", "array"}, {"items", std::move(schema)}, {"minItems", 1}};
    if (choice.forces_one) schema["maxItems"] = 1;
  }
  schema["$defs"] = std::move(definitions);
  return schema;
}

}  // namespace mslt::serve
