// MSL's barriers and operations across the 32 lanes of a simdgroup in CUDA C++, for values of up to 32 bits.
//
// All lanes take part. Reductions are butterflies of shuffles, lanes that are 16 apart first: each lane ends with the
// same bits, those of the host driver.
#pragma once

#include "backend/msl/drivers/cuda/msl_math.cuh"
#include "backend/msl/drivers/cuda/msl_types.cuh"

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
MSLT_BOTH constexpr mem_flags operator|(mem_flags a, mem_flags b) {
  return static_cast<mem_flags>(static_cast<int>(a) | static_cast<int>(b));
}

// Both order accesses to device and threadgroup memory among the threads that meet, whatever the flags.
__device__ __forceinline__ void threadgroup_barrier(mem_flags /*flags*/) {
  __syncthreads();
}
__device__ __forceinline__ void simdgroup_barrier(mem_flags /*flags*/) {
  __syncwarp();
}

namespace simd_detail {

constexpr unsigned int all_lanes = 0xffffffffu;
constexpr int width = 32;

__device__ __forceinline__ uint lane_index() {
  uint lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

// A value as the word that travels between lanes, and back.
template <class T>
__device__ __forceinline__ uint to_word(T value) {
  static_assert(is_scalar<T> && sizeof(T) <= 4);
  if constexpr (sizeof(T) == 4) {
    return as_type<uint>(value);
  } else if constexpr (sizeof(T) == 2) {
    return as_type<ushort>(value);
  } else {
    return as_type<uchar>(value);
  }
}
template <class T>
__device__ __forceinline__ T from_word(uint word) {
  if constexpr (sizeof(T) == 4) {
    return as_type<T>(word);
  } else if constexpr (sizeof(T) == 2) {
    return as_type<T>(static_cast<ushort>(word));
  } else {
    return as_type<T>(static_cast<uchar>(word));
  }
}

}  // namespace simd_detail

template <class T>
__device__ __forceinline__ T simd_shuffle(T x, ushort lane) {
  return simd_detail::from_word<T>(__shfl_sync(simd_detail::all_lanes, simd_detail::to_word(x), lane));
}
template <class T>
__device__ __forceinline__ T simd_broadcast(T x, ushort lane) {
  return simd_shuffle(x, lane);
}
template <class T>
__device__ __forceinline__ T simd_broadcast_first(T x) {
  return simd_shuffle(x, 0);
}
template <class T>
__device__ __forceinline__ T simd_shuffle_xor(T x, ushort mask) {
  return simd_detail::from_word<T>(__shfl_xor_sync(simd_detail::all_lanes, simd_detail::to_word(x), mask));
}
// Lanes without a partner keep their own value.
template <class T>
__device__ __forceinline__ T simd_shuffle_up(T x, ushort delta) {
  return simd_detail::from_word<T>(__shfl_up_sync(simd_detail::all_lanes, simd_detail::to_word(x), delta));
}
template <class T>
__device__ __forceinline__ T simd_shuffle_down(T x, ushort delta) {
  return simd_detail::from_word<T>(__shfl_down_sync(simd_detail::all_lanes, simd_detail::to_word(x), delta));
}

#define MSLT_SIMD_REDUCTION(name, expression)                                           \
  template <class T>                                                                    \
  __device__ __forceinline__ T name(T a) {                                              \
    _Pragma("unroll") for (int apart = simd_detail::width / 2; apart > 0; apart /= 2) { \
      const T b = simd_shuffle_xor(a, static_cast<ushort>(apart));                      \
      a = expression;                                                                   \
    }                                                                                   \
    return a;                                                                           \
  }
MSLT_SIMD_REDUCTION(simd_sum, T(a + b))
MSLT_SIMD_REDUCTION(simd_product, T(a* b))
MSLT_SIMD_REDUCTION(simd_max, max(a, b))
MSLT_SIMD_REDUCTION(simd_min, min(a, b))
MSLT_SIMD_REDUCTION(simd_and, T(a& b))
MSLT_SIMD_REDUCTION(simd_or, T(a | b))
MSLT_SIMD_REDUCTION(simd_xor, T(a ^ b))
#undef MSLT_SIMD_REDUCTION

// Sums over the lanes up to this one, and over those before it.
template <class T>
__device__ __forceinline__ T simd_prefix_inclusive_sum(T x) {
  const uint lane = simd_detail::lane_index();
#pragma unroll
  for (int apart = 1; apart < simd_detail::width; apart *= 2) {
    const T before = simd_shuffle_up(x, static_cast<ushort>(apart));
    x = lane >= static_cast<uint>(apart) ? T(before + x) : x;
  }
  return x;
}
template <class T>
__device__ __forceinline__ T simd_prefix_exclusive_sum(T x) {
  const T before = simd_shuffle_up(simd_prefix_inclusive_sum(x), 1);
  return simd_detail::lane_index() == 0 ? T(0) : before;
}

}  // namespace metal
