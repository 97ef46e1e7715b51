// The argument structs of embedding.metal, shared with the host.
#pragma once

#include <stdint.h>

struct EmbeddingForwardArgs {
  uint32_t rows;  // B · T
  uint32_t steps;
  uint32_t columns;
  uint32_t vocab;
  uint32_t places;   // rows of position_weight
  uint32_t aligned;  // all rows start at multiples of 16 bytes
  uint32_t has_position;
  uint32_t has_first;
  float scale;
  uint32_t position_type;  // as any_float.h numbers them; of quantised token weights
};

struct EmbeddingSortArgs {
  uint32_t rows;
  uint32_t run_bits;  // runs sorted so far have 2^run_bits rows
};

struct EmbeddingGradientArgs {
  uint32_t rows;
  uint32_t columns;
  uint32_t vocab;
  uint32_t aligned;
  float scale;
};

struct PositionGradientArgs {
  uint32_t sequences;
  uint32_t steps;
  uint32_t columns;
  uint32_t aligned;
};
