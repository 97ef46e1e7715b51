// The argument struct of matvec.metal, shared with the host.
#pragma once

#include <stdint.h>

struct MatvecArgs {
  uint32_t rows;     // of in and out
  uint32_t columns;  // of out: rows of the weight
  uint32_t inner;
  uint32_t aligned;     // rows of in and of the weight are whole spans at multiples of 16 bytes
  uint32_t activation;  // as MatmulArgs has it
  uint32_t has_bias;
  uint32_t bias_type;
  uint32_t shared;      // all simdgroups of a threadgroup have the same columns, and share their rows of the weight
  uint32_t accumulate;  // adds to out
  uint32_t norm;        // of the input's rows: 0 none, 1 LayerNorm, 2 RMSNorm; needs `aligned`
  uint32_t norm_type;   // of its weight and bias, as bias_type
  uint32_t has_norm_bias;
  float epsilon;
  float weight_offset;  // added to the norm's weight
};
