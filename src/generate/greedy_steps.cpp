// Recording steps ahead of reading them.
#include "generate/greedy_steps.h"

#include <cmath>
#include <cstring>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::size_t tokens_at = 16;

}  // namespace

GreedySteps::GreedySteps(Backend& backend, InferencePass& pass, std::int64_t vocab_size, std::span<const int> slots,
                         std::span<const std::int32_t> tokens)
    : backend_(backend),
      pass_(pass),
      vocab_size_(vocab_size),
      slots_(slots.begin(), slots.end()),
      buffer_(backend.allocate(tokens_at + tokens.size_bytes(), "next tokens")),
      norm_(*buffer_, 0, DType::f32, {1}),
      tokens_(*buffer_, tokens_at, DType::i32, {static_cast<std::int64_t>(tokens.size())}) {
  backend_.upload(tokens_, std::as_bytes(tokens));
}

GreedySteps::~GreedySteps() {
  try {
    backend_.wait();
  } catch (const Error&) {
    return;  // nobody is left to be told
  }
}

void GreedySteps::start() {
  const Tensor logits = pass_.step(slots_, tokens_);
  backend_.run(Argmax{.out = tokens_, .logits = logits, .vocab = vocab_size_});
  backend_.run(GlobalNorm{.out = norm_, .gradients = logits});
  const auto bytes = std::make_shared<std::vector<std::byte>>();
  steps_.push_back(bytes);
  backend_.read_back({*buffer_, 0, DType::u8, {static_cast<std::int64_t>(buffer_->size())}},
                     [bytes](std::span<const std::byte> read) { bytes->assign(read.begin(), read.end()); });
  backend_.submit();
}

std::vector<std::int32_t> GreedySteps::take() {
  backend_.throttle(steps_.size() - 1);
  const std::shared_ptr<std::vector<std::byte>> bytes = steps_.front();
  steps_.pop_front();
  float norm = 0.0f;
  std::vector<std::int32_t> tokens(slots_.size());
  std::memcpy(&norm, bytes->data(), sizeof(norm));
  std::memcpy(tokens.data(), bytes->data() + tokens_at, tokens.size() * sizeof(std::int32_t));
  require_finite_output(std::isfinite(norm));
  return tokens;
}

void require_finite_output(bool is_finite) {
  if (is_finite) return;
  fail(
      ErrorKind::numeric,
      "The model's output is not finite: with these weights, numbers leave the range of the type they are computed in. "
      "Try --dtype f32.");
}

}  // namespace mslt
