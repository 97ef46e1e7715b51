// The argument struct of row_sum.metal, shared with the host.
#pragma once

#include <stdint.h>

struct RowSumArgs {
  uint32_t columns;
};
