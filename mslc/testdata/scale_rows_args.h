// The argument struct of scale_rows.metal, shared with the host.
#pragma once

#include <stdint.h>

struct ScaleRowsArgs {
  uint32_t rows;
  uint32_t columns;
  float shift;
};
