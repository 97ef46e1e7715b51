// The argument structs of optimizer.metal, shared with the host.
#pragma once

#include <stdint.h>

struct NormSquaresArgs {
  uint64_t count;
  uint32_t aligned;  // the gradients start at a multiple of 16 bytes
  uint32_t reserved;
};

struct NormRootArgs {
  uint32_t groups;      // number of sums of each magnitude
  uint32_t accumulate;  // the old norm counts as one more gradient
};

struct AdamWArgs {
  uint64_t count;
  uint32_t aligned;  // all tensors start at multiples of 16 bytes
  float beta1;
  float beta2;
  float epsilon;
  float weight_decay;
  uint32_t operation;    // of the random numbers
  uint64_t first_block;  // of them
};
