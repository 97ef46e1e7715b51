// How the CUDA driver launches the kernels that mslc wrote as .cu files: the entry signature and the table of them.
//
// For every kernels/NAME.metal mslc writes cuda_NAME.cu:
//
//   #include "backend/msl/drivers/cuda/msl_cuda.cuh"     // the metal:: library on the GPU; includes this header
//   namespace metal::msl_NAME {                          // inside metal, so that metal::float4 comes before ::float4
//   #line 12 "kernels/NAME.metal"
//   template <typename T>                                // `kernel void scale(device T* x [[buffer(0)]], ...)`
//   __device__ void scale(T* x, const ScaleArgs& args, float* scratch, uint3 group, uint lane) {
//     __shared__ float tile[64];                         // `threadgroup float tile[64];` in the kernel
//     ...
//   }
//   extern "C" __global__ void mslt_scale_f32(float* x, const ScaleArgs args, std::uint32_t scratch_offset) {
//     mslt_begin();                                      // mslt_let_next_start() if scale() itself waits (overlap.h)
//     scale<float>(x, args, reinterpret_cast<float*>(mslt_dynamic + scratch_offset), uint3(blockIdx.x, ...), ...);
//   }
//   }
//
// Launch parameters, in this order:
//   1. for each argument of kind buffer or bytes, in the order of KernelInfo::arguments: the device pointer, or the
//      struct by value;
//   2. for each argument of kind threadgroup, in the same order: std::uint32_t, where its memory starts in the dynamic
//      shared memory of the launch. The driver chooses the offsets, multiples of 16 bytes.
// Threads are threadIdx, threadgroups blockIdx, simdgroups the warps of 32 consecutive linear thread numbers. A kernel
// with [[max_total_threads_per_threadgroup(n)]] carries __launch_bounds__(n). Helper functions are __device__,
// constants of file scope constexpr. msl_cuda.cuh provides namespace metal and mslt_begin; mslc defines mslt_dynamic
// itself.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace mslt::msl::cuda {

struct CudaKernel {
  std::string_view name;           // the host name
  const void* function = nullptr;  // for cudaLaunchKernel and cudaFuncGetAttributes
};

// Every kernel of kernels/, sorted by name. Written by mslc.
std::span<const CudaKernel> cuda_kernels();

}  // namespace mslt::msl::cuda
