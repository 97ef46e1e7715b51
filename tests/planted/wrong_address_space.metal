// A kernel that passes device memory where threadgroup memory is asked for.
#include <metal_stdlib>

#include "planted_args.h"

using namespace metal;

inline float first_of(threadgroup const float* values) {
  return values[0];
}

kernel void wrong_address_space(device float* out [[buffer(0)]], constant PlantedArgs& args [[buffer(1)]]) {
  out[0] = first_of(out) + float(args.count);  // defect: wrong_address_space
}
