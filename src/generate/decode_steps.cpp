// Recording steps ahead of reading them.
#include "generate/decode_steps.h"

#include <cstddef>
#include <cstring>
#include <utility>

#include "mslt/error.h"

namespace mslt {

DecodeSteps::DecodeSteps(Backend& backend, InferencePass& pass, TokenDrawer& drawer, std::span<const int> slots,
                         std::span<const std::span<const std::int32_t>> histories)
    : backend_(backend),
      pass_(pass),
      drawer_(drawer),
      slots_(slots.begin(), slots.end()),
      next_(pass.next_tokens(static_cast<std::int64_t>(slots.size()))) {
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
  const std::int64_t choices = drawer_.greedy_choices();
  const Tensor logits = pass_.step(slots_, choices);
  if (choices == 0) drawer_.draw_on_device(logits, next_);
  const auto drawn = std::make_shared<Drawn>();
  drawn->tokens.resize(slots_.size());
  drawn->logits.resize(slots_.size());
  // Both at once, since each copy costs as much as a small kernel.
  backend_.read_back(next_.words, [drawn](std::span<const std::byte> bytes) {
    const std::size_t half = bytes.size() / 2;
    std::memcpy(drawn->tokens.data(), bytes.data(), half);
    std::memcpy(drawn->logits.data(), bytes.subspan(half).data(), half);
  });
  steps_.push_back(drawn);
  backend_.submit();
}

std::vector<std::int32_t> DecodeSteps::take() {
  backend_.throttle(steps_.size() - 1);
  const std::shared_ptr<Drawn> drawn = steps_.front();
  steps_.pop_front();
  require_finite(drawn->logits);
  drawer_.count_draws(slots_);
  return std::move(drawn->tokens);
}

}  // namespace mslt
