// The argument struct of matvec.metal, shared with the host.
#pragma once

#include <stdint.h>

struct MatvecArgs {
  uint32_t rows;     // of in and out
  uint32_t columns;  // of out: rows of the weight
  uint32_t inner;
  uint32_t in_aligned;      // rows of in are whole spans at multiples of 16 bytes
  uint32_t weight_aligned;  // those of the weight: at multiples of a span's bytes
  uint32_t activation;      // as MatmulArgs has it
  uint32_t has_bias;
  uint32_t bias_type;
};
