// The argument struct of sampling.metal, shared with the host.
#pragma once

#include <stdint.h>

struct SamplingArgs {
  uint32_t columns;
  uint32_t vocab;    // of which so many are logits
  uint32_t k;        // how many are wanted
  uint32_t aligned;  // rows lie at multiples of 16 bytes
};
