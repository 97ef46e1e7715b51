// The argument structs of norm.metal and norm_backward.metal, shared with the host.
#pragma once

#include <stdint.h>

// Rows may be pieces of wider rows, which are `stride` elements apart: the first `pieces · columns` of each. If they
// are whole, `pieces` is 1 and `stride` is `columns`.

struct NormForwardArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t stride;  // of out, residual and x
  uint32_t pieces;
  uint32_t aligned;         // all rows start at multiples of 16 bytes
  uint32_t weight_aligned;  // weight and bias do
  uint32_t rms;             // RMSNorm, else LayerNorm
  uint32_t has_x;
  uint32_t has_sum;
  uint32_t has_bias;
  uint32_t has_mean;
  uint32_t has_rstd;
  float epsilon;
  float weight_offset;  // added to weights
  uint32_t dropout_operation;
  float dropout_probability;
  float dropout_scale;  // 1 / (1 - probability)
};

struct NormBackwardArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t stride;  // of dsum, dout and direct
  uint32_t pieces;
  uint32_t aligned;
  uint32_t weight_aligned;
  uint32_t rms;
  uint32_t has_direct;
  uint32_t sums;           // of a column in a row of partial sums: 2, or 3 with those of dsum
  uint32_t rows_per_part;  // rows per partial sum
  float weight_offset;     // added to weights
};

struct NormGradientArgs {
  uint32_t columns;
  uint32_t parts;   // rows of partial sums
  uint32_t sums;    // as above
  uint32_t summed;  // the first so many columns of partial sums are in use, those of dbias only with has_bias
  uint32_t has_bias;
};
