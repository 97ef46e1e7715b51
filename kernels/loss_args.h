// The argument structs of loss.metal, shared with the host.
#pragma once

#include <stdint.h>

struct CrossEntropyArgs {
  uint32_t columns;
  uint32_t vocab;     // of which so many are logits, the others padding
  uint32_t aligned;   // rows lie at multiples of 16 bytes
  uint32_t backward;  // logits become their gradients
};

struct SumArgs {
  uint64_t count;
  uint32_t accumulate;  // the old value is added
  uint32_t aligned;     // the elements lie at a multiple of 16 bytes
};
