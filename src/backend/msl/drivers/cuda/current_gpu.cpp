// Asking the runtime about the current GPU.
#include "backend/msl/drivers/cuda/current_gpu.h"

#include <cuda_runtime_api.h>

namespace mslt::msl::cuda {
namespace {

int attribute(cudaDeviceAttr which) {
  int device = 0;
  int value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, which, device) == cudaSuccess ? value : 0;
}

}  // namespace

int multiprocessors() {
  return attribute(cudaDevAttrMultiProcessorCount);
}

bool is_hopper_or_later() {
  return attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
}

}  // namespace mslt::msl::cuda
