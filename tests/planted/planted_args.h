// The argument struct of the planted defects.
#pragma once

#include <stdint.h>

struct PlantedArgs {
  uint32_t count;
  uint32_t divisor;
};
