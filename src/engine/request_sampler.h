// Draws the tokens of one request: biases, penalties, constraint, sampling and logarithms of probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "generate/row_draws.h"
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
  // far. `ends`: the tokens that end a text, of which the constraint says when they may come. Throws Error(numeric)
  // where logits are not finite, and Error(input) where no token may be drawn.
  DrawnToken draw(std::span<float> logits, std::span<const std::int32_t> history, std::span<const TokenId> ends);

  // Whether only draw() serves: it asks for the logits themselves, or changes them one by one.
  bool needs_logits() const {
    return logprobs_ || !bias_.empty() || presence_penalty_ != 0.0f || frequency_penalty_ != 0.0f;
  }
  // Otherwise a device may draw the next token, by this, which stays valid until the next call; accept() then goes on
  // by the token. Throws Error(input) where none may be drawn.
  RowDraw row_draw(std::span<const std::int32_t> history, std::span<const TokenId> ends);
  DrawnToken accept(TokenId token, std::span<const TokenId> ends);

  // Whether the constraint says that the text is complete.
  bool must_end() const { return constraint_ != nullptr && constraint_->must_end(); }

 private:
  void keep_own(std::span<const float> logits);
  void bias(std::span<float> logits) const;
  void allow(std::span<const TokenId> ends);
  void constrain(std::span<float> logits, std::span<const TokenId> ends);
  void count(TokenId token, std::span<const TokenId> ends);
  DrawnToken with_logprobs(TokenId token) const;

  Sampler sampler_;
  std::int64_t choices_;
  std::vector<TokenId> excluded_;
  std::vector<std::pair<TokenId, float>> bias_;
  float presence_penalty_;
  float frequency_penalty_;
  std::optional<std::int64_t> logprobs_;
  std::unique_ptr<TokenConstraint> constraint_;
  std::vector<std::uint32_t> allowed_;                     // by the constraint, or forbidden for a device
  std::unordered_map<TokenId, std::int64_t> occurrences_;  // of drawn tokens
  // Of the model's own logits, for the logarithms of probabilities.
  double log_sum_ = 0.0;
  std::vector<float> raw_;
};

}  // namespace mslt
