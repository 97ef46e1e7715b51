// The argument structs of activation.metal, shared with the host.
#pragma once

#include <stdint.h>

struct ActivationArgs {
  uint64_t count;
  uint32_t aligned;  // the tensors start at multiples of 16 bytes
  uint32_t reserved;
};

struct GatedArgs {
  uint32_t rows;
  uint32_t columns;  // of the output; the input has twice as many
  uint32_t aligned;  // rows start at multiples of 16 bytes
};
