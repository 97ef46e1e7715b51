// Memory of the GPU that is freed with its owner.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <memory>

#include "backend/msl/drivers/cuda/cuda_status.h"

namespace mslt::msl::cuda {

struct FreeDeviceMemory {
  void operator()(std::byte* data) const { cudaFree(data); }
};
// Its contents are undefined at first. Freeing waits for the GPU.
using DeviceMemory = std::unique_ptr<std::byte, FreeDeviceMemory>;

// Null where there is no room. Throws Error(device) on any other failure.
inline DeviceMemory try_allocate_device(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, std::max<std::size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "allocating memory");
  return DeviceMemory(static_cast<std::byte*>(data));
}

// Throws Error(memory) where there is no room.
inline DeviceMemory allocate_device(std::size_t bytes) {
  DeviceMemory memory = try_allocate_device(bytes);
  if (!memory) fail(ErrorKind::memory, "cuda: there is no room for {} bytes in the GPU's memory.", bytes);
  return memory;
}

}  // namespace mslt::msl::cuda
