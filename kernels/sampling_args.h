// The argument struct of sampling.metal, shared with the host.
#pragma once

#include <stdint.h>

struct SamplingArgs {
  uint32_t columns;
  uint32_t vocab;    // columns that are logits
  uint32_t k;        // requested number
  uint32_t aligned;  // rows start at multiples of 16 bytes
};
