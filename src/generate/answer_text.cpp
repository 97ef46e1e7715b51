// Tokens to text, up to the end.
#include "generate/answer_text.h"

#include <algorithm>

namespace mslt {

AnswerText::AnswerText(const Tokenizer& tokenizer, std::span<const TokenId> prompt, std::span<const TokenId> eos_ids,
                       const std::vector<std::string>& stop)
    :  // After a prompt, a space at the start belongs to the text.
      decoder_(tokenizer, true, std::ranges::any_of(prompt, [&](TokenId id) { return !tokenizer.is_special(id); })),
      stop_(stop) {
  for (const std::string& text : stop) {
    if (const auto id = tokenizer.special_id(text)) ends_.push_back(*id);
  }
  stop_count_ = ends_.size();
  ends_.insert(ends_.end(), eos_ids.begin(), eos_ids.end());
}

std::string AnswerText::push(TokenId token) {
  const auto end = static_cast<std::size_t>(std::ranges::find(ends_, token) - ends_.begin());
  if (end < ends_.size()) return finish(end < stop_count_ ? FinishReason::stop : FinishReason::eos);
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
