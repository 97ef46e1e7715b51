// The argument structs of linear.metal, shared with the host.
#pragma once

#include <stdint.h>

// Of a product [rows, inner] · [inner, columns].
struct MatmulArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t inner;
  uint32_t a_aligned;    // rows of the first operand in memory are whole spans at multiples of 16 bytes
  uint32_t b_aligned;    // the same of the second
  uint32_t out_aligned;  // the same of the result and what else has its shape
  uint32_t activation;   // 0 none, 1 GELU (tanh), 2 GELU (erf), 3 ReLU
  uint32_t has_bias;
  uint32_t bias_type;  // 0 f32, 1 bf16, 2 f16
  uint32_t has_pre;
  uint32_t accumulate;
};

struct ColumnSumArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t rows_per_part;
  uint32_t parts;
  uint32_t aligned;  // rows are whole spans at multiples of 16 bytes
};

struct UnpackArgs {
  uint64_t count;    // elements of the weight
  uint32_t aligned;  // out and the weight start at multiples of 16 bytes
  uint32_t reserved;
};
