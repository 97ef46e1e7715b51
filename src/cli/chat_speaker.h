// ChatSpeaker: what answers in a conversation.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/model_chat.h"
#include "mslt/generator.h"
#include "mslt/model.h"

namespace mslt::cli {

struct ChatAnswer {
  std::string text;
  FinishReason reason = FinishReason::length;
  std::int64_t prompt_tokens = 0;
  std::int64_t new_tokens = 0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
};

// The part of a conversation that needs a model, so that tests need none.
class ChatSpeaker {
 public:
  virtual ~ChatSpeaker() = default;
  // The ids that the answer to these messages continues. Throws Error(input) for what the template refuses.
  virtual std::vector<TokenId> encode(const nlohmann::ordered_json& messages) const = 0;
  // Most tokens of a prompt and its answer.
  virtual std::int64_t context() const = 0;
  // `on_text` receives the answer piece by piece; returning false ends it.
  virtual ChatAnswer answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                            const std::function<bool(std::string_view)>& on_text) = 0;
};

// Speaks by the model's chat template; without one, the model continues the messages' texts, one after the other.
class ModelSpeaker : public ChatSpeaker {
 public:
  // The model must outlive it.
  ModelSpeaker(Model& model, std::optional<ModelChat> chat);
  std::vector<TokenId> encode(const nlohmann::ordered_json& messages) const override;
  std::int64_t context() const override { return model_.config().max_positions; }
  ChatAnswer answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text) override;

 private:
  Model& model_;
  std::optional<ModelChat> chat_;
  Generator generator_;
};

}  // namespace mslt::cli
