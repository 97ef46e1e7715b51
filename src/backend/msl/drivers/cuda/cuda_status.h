// CUDA's error codes as mslt::Error.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "base/fail.h"

namespace mslt::msl::cuda {

// "an illegal memory access was encountered (cudaErrorIllegalAddress)"
inline std::string describe(cudaError_t status) {
  return fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status));
}

// Throws Error(device) saying what could not be done, unless the status is success.
inline void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not report it again
  fail(ErrorKind::device, "cuda: {}: {}.", what, describe(status));
}

}  // namespace mslt::msl::cuda
