// The argument structs of norm.metal, shared with the host.
#pragma once

#include <stdint.h>

struct NormForwardArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t aligned;         // all rows lie at multiples of 16 bytes
  uint32_t weight_aligned;  // weight and bias do
  uint32_t rms;             // RMSNorm, else LayerNorm
  uint32_t has_x;
  uint32_t has_bias;
  uint32_t has_mean;
  uint32_t has_rstd;
  float epsilon;
  uint32_t dropout_operation;
  float dropout_probability;
  float dropout_scale;  // 1 / (1 - probability)
};

struct NormBackwardArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t aligned;
  uint32_t weight_aligned;
  uint32_t rms;
  uint32_t has_direct;
  uint32_t rows_per_part;  // rows of which one partial sum is made
};

struct NormGradientArgs {
  uint32_t columns;
  uint32_t parts;   // rows of partial sums
  uint32_t summed;  // their columns that are wanted: `columns` for dweight alone, twice as many with dbias
};
