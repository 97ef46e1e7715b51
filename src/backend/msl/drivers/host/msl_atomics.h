// MSL's integer atomics on the host, relaxed as all of MSL's are. There are no float atomics, since sums are ordered.
#pragma once

#include <cstdint>
#include <type_traits>

#include "backend/msl/drivers/host/msl_types.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct mslt_atomic {
  T value;
};
using atomic_uint = mslt_atomic<uint>;
using atomic_int = mslt_atomic<int>;

// The compiler's own functions, since Apple's library has no std::atomic_ref.
template <class T>
T atomic_load_explicit(const mslt_atomic<T>* p, memory_order /*order*/) {
  return __atomic_load_n(&p->value, __ATOMIC_RELAXED);
}
template <class T>
void atomic_store_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  __atomic_store_n(&p->value, value, __ATOMIC_RELAXED);
}
template <class T>
T atomic_fetch_add_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  return __atomic_fetch_add(&p->value, value, __ATOMIC_RELAXED);
}
template <class T>
T atomic_fetch_or_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  return __atomic_fetch_or(&p->value, value, __ATOMIC_RELAXED);
}
template <class T>
T atomic_fetch_max_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  T old = __atomic_load_n(&p->value, __ATOMIC_RELAXED);
  while (old < value &&
         !__atomic_compare_exchange_n(&p->value, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

}  // namespace metal
