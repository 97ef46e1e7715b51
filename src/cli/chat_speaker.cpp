// Answers from a model.
#include "cli/chat_speaker.h"

#include <ctime>
#include <utility>

namespace mslt::cli {

ModelSpeaker::ModelSpeaker(Model& model, std::optional<ModelChat> chat)
    : model_(model), chat_(std::move(chat)), generator_(model) {}

std::vector<TokenId> ModelSpeaker::encode(const nlohmann::ordered_json& messages) const {
  if (chat_) {
    ChatInput input;
    input.messages = messages;
    input.now = std::time(nullptr);
    return chat_->tokens(input);
  }
  std::string text;
  for (const auto& message : messages) text += message.value("content", "");
  std::vector<TokenId> ids(model_.text_prefix().begin(), model_.text_prefix().end());
  model_.tokenizer().encode_append(text, ids);
  return ids;
}

ChatAnswer ModelSpeaker::answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                                const std::function<bool(std::string_view)>& on_text) {
  const auto generated = generator_.generate_from_tokens(
      prompt, options, [&](std::int64_t /*sample*/, std::string_view piece) { return on_text(piece); });
  const GenerateStatistics& statistics = generator_.statistics();
  return {generated.front().text, generated.front().reason,   statistics.prompt_tokens,
          statistics.new_tokens,  statistics.prefill_seconds, statistics.decode_seconds};
}

}  // namespace mslt::cli
