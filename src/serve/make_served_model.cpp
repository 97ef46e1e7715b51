// What the API needs of a model, from its files.
#include "serve/make_served_model.h"

#include <ctime>
#include <memory>
#include <utility>

#include "formats/model_chat.h"
#include "formats/model_parts.h"
#include "grammar/json_constraint.h"

namespace mslt::serve {

ServedModel make_served_model(const Model& model, std::string id, std::int64_t max_prompt_tokens) {
  ServedModel served{.id = std::move(id), .tokenizer = model.tokenizer()};
  served.created = static_cast<std::int64_t>(std::time(nullptr));
  served.text_prefix.assign(model.text_prefix().begin(), model.text_prefix().end());
  served.context = model.config().max_positions;
  served.vocab_size = model.config().vocab_size;
  served.max_prompt_tokens = max_prompt_tokens;
  served.json_constraints = json_constraint_maker(model.tokenizer(), served.vocab_size);
  // Its errors go to clients, who need not know where files are.
  if (std::optional<ModelChat> chat = ModelChat::of(model.parts().loaded, served.id)) {
    const auto shared = std::make_shared<const ModelChat>(std::move(*chat));
    served.tool_calls = tool_call_style(shared->source(true));
    served.chat_tokens = [shared](const ChatInput& input) {
      return shared->tokens(input);
    };
  }
  return served;
}

}  // namespace mslt::serve
