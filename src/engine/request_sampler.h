// Draws the tokens of one request: biases, penalties, constraint, sampling and logarithms of probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "generate/sampler.h"
#include "mslt/engine.h"

namespace mslt {

inline constexpr std::int64_t most_logprobs = 20;

// One thread at a time.
class RequestSampler {
 public:
  // Draws among ids 0 to choices - 1, except `excluded` (ascending). Takes the constraint. Throws Error(usage) for
  // options out of range.
  RequestSampler(Request& request, std::int64_t choices, std::span<const TokenId> excluded);

  // The next token from its logits f32, at least `choices` of them, which it overwrites. `history` holds all tokens so
  // far. `ends_text(token)`: whether the token ends a text, which the constraint says when it may. Throws
  // Error(numeric) where logits are not finite, and Error(input) where no token may be drawn.
  template <class EndsText>
  DrawnToken draw(std::span<float> logits, std::span<const std::int32_t> history, const EndsText& ends_text) {
    logits = logits.first(static_cast<std::size_t>(choices_));
    begin(logits);
    if (constraint_ != nullptr && constraint_->may_end()) {
      for (std::size_t id = 0; id < logits.size(); ++id) {
        if (ends_text(static_cast<TokenId>(id))) allow(id);
      }
    }
    return end(logits, history, ends_text);
  }
  // Whether the constraint says that the text is complete.
  bool must_end() const { return constraint_ != nullptr && constraint_->must_end(); }

 private:
  void begin(std::span<float> logits);
  void allow(std::size_t id) { allowed_[id / 32] |= std::uint32_t{1} << (id % 32); }
  template <class EndsText>
  DrawnToken end(std::span<float> logits, std::span<const std::int32_t> history, const EndsText& ends_text) {
    const DrawnToken drawn = choose(logits, history);
    if (constraint_ != nullptr && !ends_text(drawn.drawn.token)) constraint_->accept(drawn.drawn.token);
    return drawn;
  }
  DrawnToken choose(std::span<float> logits, std::span<const std::int32_t> history);

  Sampler sampler_;
  std::int64_t choices_;
  std::vector<TokenId> excluded_;
  std::vector<std::pair<TokenId, float>> bias_;
  float presence_penalty_;
  float frequency_penalty_;
  std::optional<std::int64_t> logprobs_;
  std::unique_ptr<TokenConstraint> constraint_;
  std::vector<std::uint32_t> allowed_;
  std::unordered_map<TokenId, std::int64_t> occurrences_;  // of drawn tokens
  // Of the model's own logits, for the logarithms of probabilities.
  double log_sum_ = 0.0;
  std::vector<float> raw_;
};

}  // namespace mslt
