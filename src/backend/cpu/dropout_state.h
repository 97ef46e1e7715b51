// The key and counters of dropout's random numbers.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"

namespace mslt {

// A Dropout with its random state read from memory.
struct DropoutState {
  explicit DropoutState(const Dropout& dropout) : probability(dropout.probability), operation(dropout.operation) {
    if (probability <= 0.0f) return;
    const std::span<const std::uint32_t> state = dropout.random_state.host<std::uint32_t>();
    seed = state[0] | (std::uint64_t{state[1]} << 32);
    step = state[2];
    scale = 1.0f / (1.0f - probability);
  }

  float probability = 0.0f;
  float scale = 1.0f;  // for kept elements
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t operation = 0;
};

}  // namespace mslt
