// 16-bit elements as floats, and activations, for the driver's own kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace mslt::msl::cuda {
namespace {

template <typename T>
__device__ __forceinline__ float2 pair_of(unsigned word);
template <>
__device__ __forceinline__ float2 pair_of<__nv_bfloat16>(unsigned word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
}
template <>
__device__ __forceinline__ float2 pair_of<__half>(unsigned word) {
  return __half22float2(*reinterpret_cast<const __half2*>(&word));
}

// The eight elements of 16 bytes.
template <typename T>
__device__ __forceinline__ void unpack(const uint4& raw, float* values) {
  const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
    const float2 two = pair_of<T>(words[i]);
    values[2 * i] = two.x;
    values[2 * i + 1] = two.y;
  }
}

__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(__half x) {
  return __half2float(x);
}
template <typename T>
__device__ __forceinline__ unsigned bits_of(T x) {
  return *reinterpret_cast<const unsigned short*>(&x);
}
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

__device__ __forceinline__ float sum_of_warp(float x) {
#pragma unroll
  for (unsigned mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}

__device__ __forceinline__ float gelu(float x) {
  if (x < -15.0f) return 0.0f;
  if (x > 15.0f) return x;
  const float u = 2.0f * 0.7978845608028654f * (x + 0.044715f * x * x * x);
  const float e = expf(-fabsf(u));
  return x * ((u < 0.0f ? e : 1.0f) / (1.0f + e));
}

// As kernels/lib/activate.h numbers them: none, tanh GELU, or ReLU for any other.
__device__ __forceinline__ float activate(unsigned activation, float x) {
  if (activation == 0) return x;
  if (activation == 1) return gelu(x);
  return x < 0.0f ? 0.0f : x;
}

}  // namespace
}  // namespace mslt::msl::cuda
