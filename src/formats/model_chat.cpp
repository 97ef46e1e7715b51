// Finding and rendering a model's chat templates.
#include "formats/model_chat.h"

#include <array>
#include <utility>

#include "base/fail.h"
#include "base/json.h"
#include "formats/model_folder.h"
#include "formats/model_parts.h"

namespace mslt {
namespace {

constexpr std::string_view tool_name = "tool_use";

using Files = std::map<std::string, std::string>;
using Sources = std::map<std::string, std::string>;

// The object of a JSON file; empty if there is none or it is something else, which loading the model has noted.
nlohmann::json object_of(const Files& files, const std::string& name) {
  const auto found = files.find(name);
  if (found == files.end()) return nlohmann::json::object();
  try {
    nlohmann::json json = parse_json(found->second, name);
    if (json.is_object()) return json;
  } catch (const Error&) {
    return nlohmann::json::object();
  }
  return nlohmann::json::object();
}

// A "chat_template": a text, or a list of objects with name and template.
Sources sources_in(const nlohmann::json& object) {
  Sources sources;
  const auto member = object.find("chat_template");
  if (member == object.end()) return sources;
  if (member->is_string()) sources.emplace(default_chat_template, member->get<std::string>());
  if (!member->is_array()) return sources;
  for (const nlohmann::json& entry : *member) {
    if (!entry.is_object()) continue;
    const auto name = entry.find("name");
    const auto text = entry.find("template");
    if (name == entry.end() || text == entry.end() || !name->is_string() || !text->is_string()) continue;
    sources.emplace(name->get<std::string>(), text->get<std::string>());
  }
  return sources;
}

// The texts of special tokens that the files name: a text, or an object with "content".
nlohmann::ordered_json named_tokens(const Files& files) {
  constexpr std::array<std::string_view, 7> names = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                     "pad_token", "cls_token", "mask_token"};
  auto tokens = nlohmann::ordered_json::object();
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const nlohmann::json object = object_of(files, file);
    for (const std::string_view name : names) {
      const auto member = object.find(std::string(name));
      if (member == object.end() || tokens.contains(std::string(name))) continue;
      const auto content = member->is_object() ? member->find("content") : member->end();
      const nlohmann::json& text = member->is_object() && content != member->end() ? *content : *member;
      if (text.is_string()) tokens[std::string(name)] = text.get<std::string>();
    }
  }
  return tokens;
}

// Those of the model's ids.
nlohmann::ordered_json tokens_of_ids(const ModelTokenIds& ids, const Tokenizer& tokenizer) {
  auto tokens = nlohmann::ordered_json::object();
  const auto add = [&](const char* name, std::optional<TokenId> id) {
    if (id && tokenizer.has_token(*id)) tokens[name] = std::string(tokenizer.token_bytes(*id));
  };
  add("bos_token", ids.bos);
  add("eos_token", ids.eos.empty() ? std::nullopt : std::optional<TokenId>(ids.eos.front()));
  add("unk_token", tokenizer.special_id("<unk>"));
  add("pad_token", ids.pad);
  return tokens;
}

}  // namespace

std::map<std::string, std::string> chat_template_sources(const std::map<std::string, std::string>& files) {
  Sources sources;
  if (const auto found = files.find("chat_template.jinja"); found != files.end()) {
    sources.emplace(default_chat_template, found->second);
  }
  const std::string folder = std::string(additional_templates_folder) + "/";
  constexpr std::string_view suffix = ".jinja";
  for (const auto& [name, text] : files) {
    if (!name.starts_with(folder) || !name.ends_with(suffix)) continue;
    sources.emplace(name.substr(folder.size(), name.size() - folder.size() - suffix.size()), text);
  }
  if (sources.empty()) sources = sources_in(object_of(files, "tokenizer_config.json"));
  if (sources.empty()) sources = sources_in(object_of(files, "chat_template.json"));
  return sources;
}

ModelChat::ModelChat(std::map<std::string, Named> templates, nlohmann::ordered_json variables, Tokenizer tokenizer)
    : templates_(std::move(templates)), variables_(std::move(variables)), tokenizer_(std::move(tokenizer)) {}

std::optional<ModelChat> ModelChat::of(const Model& model) {
  return of(model.parts().loaded, model.parts().folder.string());
}

std::optional<ModelChat> ModelChat::of(const LoadedModel& model, std::string_view source) {
  if (!model.tokenizer) return std::nullopt;
  Sources sources = chat_template_sources(model.files);
  if (sources.empty()) return std::nullopt;
  std::map<std::string, Named> templates;
  for (auto& [name, text] : sources) {
    ChatTemplate parsed(text, fmt::format("{}: the chat template '{}'", source, name));
    templates.emplace(name, Named{std::move(text), parsed});
  }
  nlohmann::ordered_json variables = named_tokens(model.files);
  if (variables.empty()) variables = tokens_of_ids(model.generation.tokens, *model.tokenizer);
  return ModelChat(std::move(templates), std::move(variables), *model.tokenizer);
}

const ModelChat::Named& ModelChat::chosen(bool with_tools) const {
  const auto for_tools = templates_.find(std::string(tool_name));
  if (with_tools && for_tools != templates_.end()) return for_tools->second;
  const auto usual = templates_.find(std::string(default_chat_template));
  // A model with other names alone: transformers asks which one; the first is as good as any.
  return usual != templates_.end() ? usual->second : templates_.begin()->second;
}

std::string ModelChat::render(const ChatInput& input) const {
  ChatInput all = input;
  all.variables = variables_;
  all.variables.update(input.variables);
  return chosen(!input.tools.is_null()).parsed.render(all);
}

std::vector<TokenId> ModelChat::encode(std::string_view text) const {
  return tokenizer_.encode(text, SpecialTokens::parse);
}

std::vector<TokenId> ModelChat::tokens(const ChatInput& input) const {
  return encode(render(input));
}

std::vector<std::string> ModelChat::names() const {
  std::vector<std::string> names;
  for (const auto& entry : templates_) names.push_back(entry.first);
  return names;
}

const std::string& ModelChat::source(bool with_tools) const {
  return chosen(with_tools).source;
}

}  // namespace mslt
