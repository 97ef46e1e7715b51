// ChatSpeaker: what answers in a conversation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/model_chat.h"
#include "mslt/engine.h"
#include "mslt/model.h"

namespace mslt::cli {

struct ChatAnswer {
  std::string text;
  FinishReason reason = FinishReason::length;
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_prompt_tokens = 0;  // that need not be computed, as they were part of an earlier turn
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
  // `on_text` receives the answer piece by piece, and an empty piece now and then while there is no news; returning
  // false ends the answer.
  virtual ChatAnswer answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                            const std::function<bool(std::string_view)>& on_text) = 0;
};

// Speaks by the model's chat template; without one, the model continues the messages' texts, one after the other. What
// an answer has in common with the turns before it is not computed again.
class ModelSpeaker : public ChatSpeaker {
 public:
  // The model must outlive it, and is not used by others meanwhile.
  ModelSpeaker(Model& model, std::optional<ModelChat> chat);
  std::vector<TokenId> encode(const nlohmann::ordered_json& messages) const override;
  std::int64_t context() const override { return model_.config().max_positions; }
  ChatAnswer answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text) override;

 private:
  // The engine, with a cache of at least so many tokens.
  Engine& engine_for(std::int64_t tokens);

  Model& model_;
  std::optional<ModelChat> chat_;
  std::unique_ptr<Engine> engine_;
  std::int64_t cache_positions_ = 0;  // of engine_
};

}  // namespace mslt::cli
