// Decoding steps whose tokens go from one to the next on the device.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "model/inference_pass.h"

namespace mslt {

// Throws Error(numeric) saying what could help where logits were not finite.
void require_finite_output(bool is_finite);

// Always chooses the most likely token. The host reads tokens later, so that the device need not wait for it. One
// thread at a time; the pass must outlive it.
class GreedySteps {
 public:
  // Goes on from one token for each slot, and chooses among the first `vocab_size` ids.
  GreedySteps(Backend& backend, InferencePass& pass, std::int64_t vocab_size, std::span<const int> slots,
              std::span<const std::int32_t> tokens);
  GreedySteps(const GreedySteps&) = delete;
  GreedySteps& operator=(const GreedySteps&) = delete;
  // Waits for what was started.
  ~GreedySteps();

  // Starts a step. Throws as InferencePass::step.
  void start();
  // Steps that were started and not taken.
  std::size_t started() const { return steps_.size(); }
  // The tokens of the first of them; waits for it alone. Throws Error(numeric) where its logits are not finite.
  std::vector<std::int32_t> take();

 private:
  Backend& backend_;
  InferencePass& pass_;
  std::int64_t vocab_size_;
  std::vector<int> slots_;
  std::unique_ptr<Buffer> buffer_;
  Tensor norm_;    // f32 [1], of the logits
  Tensor tokens_;  // i32 [slots], behind it
  // The bytes of `buffer_` after each.
  std::deque<std::shared_ptr<std::vector<std::byte>>> steps_;
};

}  // namespace mslt
