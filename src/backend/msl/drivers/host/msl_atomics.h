// MSL's integer atomics on the host, relaxed as all of MSL's are. There are none of float: sums are ordered.
#pragma once

#include <atomic>
#include <cstdint>

#include "backend/msl/drivers/host/msl_types.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct mslt_atomic {
  T value;
};
using atomic_uint = mslt_atomic<uint>;
using atomic_int = mslt_atomic<int>;

template <class T>
T atomic_load_explicit(const mslt_atomic<T>* p, memory_order /*order*/) {
  return std::atomic_ref<T>(const_cast<T&>(p->value)).load(std::memory_order_relaxed);
}
template <class T>
void atomic_store_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  std::atomic_ref<T>(p->value).store(value, std::memory_order_relaxed);
}
template <class T>
T atomic_fetch_add_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  return std::atomic_ref<T>(p->value).fetch_add(value, std::memory_order_relaxed);
}
template <class T>
T atomic_fetch_or_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  return std::atomic_ref<T>(p->value).fetch_or(value, std::memory_order_relaxed);
}
template <class T>
T atomic_fetch_max_explicit(mslt_atomic<T>* p, std::type_identity_t<T> value, memory_order /*order*/) {
  std::atomic_ref<T> atomic(p->value);
  T old = atomic.load(std::memory_order_relaxed);
  while (old < value && !atomic.compare_exchange_weak(old, value, std::memory_order_relaxed)) {
  }
  return old;
}

}  // namespace metal
