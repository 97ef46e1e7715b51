// Decoding steps whose tokens go from one to the next on the device.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "generate/token_drawer.h"
#include "model/inference_pass.h"

namespace mslt {

// The host reads tokens later, so that the device need not wait for it. One thread at a time; the backend, the pass and
// the drawer must outlive it.
class DecodeSteps {
 public:
  // Goes on from the last token of each history, one for each slot, which is the number of its sample, too.
  DecodeSteps(Backend& backend, InferencePass& pass, TokenDrawer& drawer, std::span<const int> slots,
              std::span<const std::span<const std::int32_t>> histories);
  DecodeSteps(const DecodeSteps&) = delete;
  DecodeSteps& operator=(const DecodeSteps&) = delete;
  // Waits for what was started.
  ~DecodeSteps();

  // Starts so many steps, each while the one before it is on its way, and calls `receive` with the tokens of each; none
  // is started any more once that returns false. Throws as InferencePass::step, as TokenDrawer::draw and as `receive`.
  template <class Receive>
  void run(std::int64_t count, const Receive& receive) {
    bool goes_on = true;
    while (!steps_.empty() || (goes_on && count > 0)) {
      for (; goes_on && count > 0 && steps_.size() < most_started; --count) start();
      goes_on = receive(take()) && goes_on;
    }
  }

 private:
  static constexpr std::size_t most_started = decode_steps_under_way;

  // What the host receives of a step.
  struct Drawn {
    std::vector<float> logits;
    std::vector<std::int32_t> tokens;
  };

  void start();
  // The tokens of the first step that was started and not taken; waits for it alone.
  std::vector<std::int32_t> take();

  Backend& backend_;
  InferencePass& pass_;
  TokenDrawer& drawer_;
  std::vector<int> slots_;
  NextTokens next_;
  std::deque<std::shared_ptr<Drawn>> steps_;
};

}  // namespace mslt
