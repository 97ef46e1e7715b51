// The argument structs of loss.metal, shared with the host.
#pragma once

#include <stdint.h>

struct SoftCapArgs {
  uint64_t count;
  uint32_t aligned;
  float cap;
};

struct CrossEntropyArgs {
  uint32_t columns;
  uint32_t vocab;     // columns that are logits; the others are padding
  uint32_t aligned;   // rows start at multiples of 16 bytes
  uint32_t backward;  // logits become their gradients
  float softcap;      // of the logits, 0 for none: the gradients are those before it
};

struct SumArgs {
  uint64_t count;
  uint32_t accumulate;  // the old value is added
  uint32_t aligned;     // the elements start at a multiple of 16 bytes
};
