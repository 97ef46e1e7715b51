// Recording steps ahead of reading them.
#include "generate/decode_steps.h"

#include "mslt/error.h"

namespace mslt {

DecodeSteps::DecodeSteps(Backend& backend, InferencePass& pass, TokenDrawer& drawer, std::span<const int> slots,
                         std::span<const std::span<const std::int32_t>> histories)
    : backend_(backend),
      pass_(pass),
      drawer_(drawer),
      slots_(slots.begin(), slots.end()),
      tokens_(pass.next_tokens(static_cast<std::int64_t>(slots.size()))) {
  std::vector<std::int32_t> last;
  for (const std::span<const std::int32_t> history : histories) last.push_back(history.back());
  pass_.set_next_tokens(last);
  drawer_.begin_on_device(slots_, histories);
}

DecodeSteps::~DecodeSteps() {
  try {
    backend_.wait();
  } catch (const Error&) {
    return;  // nobody is left to be told
  }
}

void DecodeSteps::start() {
  steps_.push_back(drawer_.draw_on_device(pass_.step(slots_), tokens_));
  backend_.submit();
}

std::vector<std::int32_t> DecodeSteps::take() {
  backend_.throttle(steps_.size() - 1);
  const std::shared_ptr<DrawnTokens> drawn = steps_.front();
  steps_.pop_front();
  require_finite(drawn->logits);
  drawer_.count_draws(slots_);
  return std::move(drawn->tokens);
}

}  // namespace mslt
