// MSL's integer atomics in CUDA C++, relaxed as all of MSL's are. There are none of float: sums are ordered.
#pragma once

#include "backend/msl/drivers/cuda/msl_types.cuh"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct mslt_atomic {
  T value;
};
using atomic_uint = mslt_atomic<uint>;
using atomic_int = mslt_atomic<int>;

template <class T>
__device__ __forceinline__ T atomic_load_explicit(const mslt_atomic<T>* p, memory_order /*order*/) {
  return *static_cast<const volatile T*>(&p->value);
}
template <class T>
__device__ __forceinline__ void atomic_store_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value,
                                                      memory_order /*order*/) {
  *static_cast<volatile T*>(&p->value) = value;
}
template <class T>
__device__ __forceinline__ T atomic_fetch_add_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value,
                                                       memory_order /*order*/) {
  return atomicAdd(&p->value, value);
}
template <class T>
__device__ __forceinline__ T atomic_fetch_or_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value,
                                                      memory_order /*order*/) {
  return atomicOr(&p->value, value);
}
template <class T>
__device__ __forceinline__ T atomic_fetch_max_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value,
                                                       memory_order /*order*/) {
  return atomicMax(&p->value, value);
}

}  // namespace metal
