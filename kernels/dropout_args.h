// The argument struct of dropout.metal, shared with the host.
#pragma once

#include <stdint.h>

struct DropoutArgs {
  uint64_t count;
  uint32_t aligned;  // the tensors start at multiples of 16 bytes
  uint32_t operation;
  float probability;
  float scale;  // 1 / (1 - probability)
};
