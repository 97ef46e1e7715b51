// The argument structs of layout.metal, shared with the host.
#pragma once

#include <stdint.h>

struct SpanArgs {
  uint64_t count;
  uint32_t aligned;  // the tensors start at multiples of 16 bytes
  uint32_t reserved;
};

struct FillArgs {
  uint64_t count;
  uint32_t aligned;  // the tensor starts at a multiple of 16 bytes
  uint32_t pattern;  // byte i becomes byte i % 4 of this
};

// Columns have 16 bits.
struct GatherArgs {
  uint32_t rows;  // of the output
  uint32_t columns;
  uint32_t source_rows;
  uint32_t aligned;  // rows start at multiples of 16 bytes
};
