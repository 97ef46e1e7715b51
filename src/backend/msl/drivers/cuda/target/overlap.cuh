// What a kernel does while those in front of it still run, in place of kernels/target/overlap.h: it brings what it will
// read into the L2 cache. Included inside a unit's namespace.
#pragma once

constexpr bool asks_ahead = true;

// The cache's lines have so many bytes.
constexpr ulong line_bytes = 128;

template <typename T>
__device__ __forceinline__ void ask_ahead(const T* data, ulong bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const auto address = static_cast<unsigned long long>(__cvta_generic_to_global(data));
  const auto size = static_cast<unsigned int>(bytes);
  if (bytes <= line_bytes) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address) : "memory");
  } else if (address % 16 == 0 && size % 16 == 0 && size != 0) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(size) : "memory");
  }
#endif
}

// Past the L1 cache, so that no old line stays there.
__device__ __forceinline__ int peek_ahead(const int* data) {
  int value;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(data)) : "memory");
  return value;
}

__device__ __forceinline__ void wait_for_earlier_kernels() {
  mslt_wait();
}
