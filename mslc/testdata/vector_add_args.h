// The argument struct of vector_add.metal, shared with the host.
#pragma once

#include <stdint.h>

struct VectorAddArgs {
  uint64_t count;
  float scale;
  uint32_t reserved;
};
