// ModelChat: conversations as the text and the tokens that a model was trained on, by its chat template.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/model.h"
#include "mslt/tokenizer.h"
#include "text/chat_template.h"

namespace mslt {

struct LoadedModel;

// The name of the template without tools, and of a model's only one.
inline constexpr const char* default_chat_template = "default";

// The sources of a model's chat templates by name, from the texts of its files by name (LoadedModel::files), found as
// ModelChat says. Files that are not what they should be give none.
std::map<std::string, std::string> chat_template_sources(const std::map<std::string, std::string>& files);

// The chat templates of a model and the texts of its special tokens. A copy of what it needs: the model need not
// outlive it. Immutable; may be used by several threads.
//
// As transformers finds them: chat_template.jinja with additional_chat_templates/NAME.jinja, else the "chat_template"
// of tokenizer_config.json (a text, or a list of named ones), else that of chat_template.json; of a GGUF file
// tokenizer.chat_template and tokenizer.chat_template.NAME. The template named "tool_use" serves conversations with
// tools if there is one. The variables bos_token, eos_token, unk_token, pad_token and so on are those that
// tokenizer_config.json or special_tokens_map.json names; without these files, the tokens of the model's ids.
class ModelChat {
 public:
  // Nothing if the model has no chat template or no tokenizer. Throws Error(input) naming the file and the line of a
  // template that is not valid.
  static std::optional<ModelChat> of(const Model& model);
  static std::optional<ModelChat> of(const LoadedModel& model, std::string_view source);

  // The text of a conversation. Variables in `input` win over the model's special tokens. Throws Error(input) as
  // ChatTemplate::render does.
  std::string render(const ChatInput& input) const;
  // The ids of a rendered text: the spelling of a special token becomes that token, and nothing is put before the text,
  // since templates write the BOS token themselves.
  std::vector<TokenId> encode(std::string_view text) const;
  // Both.
  std::vector<TokenId> tokens(const ChatInput& input) const;

  // The names of the templates: "default", "tool_use" and so on.
  std::vector<std::string> names() const;
  // The source of the template that conversations with tools, or without, are rendered by.
  const std::string& source(bool with_tools) const;
  // bos_token and so on, by name.
  const nlohmann::ordered_json& variables() const { return variables_; }

 private:
  struct Named {
    std::string source;
    ChatTemplate parsed;
  };
  ModelChat(std::map<std::string, Named> templates, nlohmann::ordered_json variables, Tokenizer tokenizer);
  const Named& chosen(bool with_tools) const;

  std::map<std::string, Named> templates_;
  nlohmann::ordered_json variables_;
  Tokenizer tokenizer_;
};

}  // namespace mslt
