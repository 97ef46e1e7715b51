// Tokens to text, up to the end.
#include "engine/answer_text.h"

#include <algorithm>

namespace mslt {

AnswerText::AnswerText(const Tokenizer& tokenizer, std::span<const TokenId> prompt, std::span<const TokenId> eos_ids,
                       const std::vector<std::string>& stop)
    : eos_ids_(eos_ids.begin(), eos_ids.end()),
      // After a prompt, a space at the start belongs to the text.
      decoder_(tokenizer, true, std::ranges::any_of(prompt, [&](TokenId id) { return !tokenizer.is_special(id); })),
      stop_(stop) {
  for (const std::string& text : stop) {
    if (const auto id = tokenizer.special_id(text)) stop_ids_.push_back(*id);
  }
}

bool AnswerText::ends(TokenId token) const {
  return std::ranges::find(stop_ids_, token) != stop_ids_.end() || std::ranges::find(eos_ids_, token) != eos_ids_.end();
}

std::string AnswerText::push(TokenId token) {
  if (std::ranges::find(stop_ids_, token) != stop_ids_.end()) return finish(FinishReason::stop);
  if (std::ranges::find(eos_ids_, token) != eos_ids_.end()) return finish(FinishReason::eos);
  std::string text = stop_.push(decoder_.push(token));
  if (stop_.stopped()) reason_ = FinishReason::stop;
  return text;
}

std::string AnswerText::finish(FinishReason reason) {
  std::string text = stop_.push(decoder_.finish());
  if (!stop_.stopped()) text += stop_.finish();
  reason_ = stop_.stopped() ? FinishReason::stop : reason;
  return text;
}

}  // namespace mslt
