// MSL's operations across the 32 lanes of a simdgroup, on the host: meetings at which the last lane computes for all.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>

#include "backend/msl/drivers/host/msl_math.h"
#include "backend/msl/drivers/host/rendezvous.h"

namespace metal {
namespace simd_detail {

inline constexpr std::uint32_t width = 32;

template <class T>
T& slot(void* const* slots, std::uint32_t lane) {
  return *static_cast<T*>(slots[lane]);
}

// In the order of a butterfly of shuffles, starting with lanes 16 apart: the same bits as on a GPU.
template <class T, T (*join)(T, T)>
T reduce(T value, const char* operation, const std::source_location& where) {
  const mslt::msl::host::Combine combine = [](void* const* slots, std::uint32_t lanes) {
    std::array<T, width> values;
    for (std::uint32_t i = 0; i < lanes; ++i) values[i] = slot<T>(slots, i);
    std::uint32_t count = lanes;
    while (count > 1) {
      const std::uint32_t half_count = (count + 1) / 2;
      for (std::uint32_t i = 0; i + half_count < count; ++i) values[i] = join(values[i], values[i + half_count]);
      count = half_count;
    }
    for (std::uint32_t i = 0; i < lanes; ++i) slot<T>(slots, i) = values[0];
  };
  mslt::msl::host::meet_simdgroup(operation, where, &value, combine);
  return value;
}

template <class T>
T add(T a, T b) {
  return T(a + b);
}
template <class T>
T multiply(T a, T b) {
  return T(a * b);
}
template <class T>
T larger(T a, T b) {
  return max(a, b);
}
template <class T>
T smaller(T a, T b) {
  return min(a, b);
}
template <class T>
T bit_and(T a, T b) {
  return T(a & b);
}
template <class T>
T bit_or(T a, T b) {
  return T(a | b);
}
template <class T>
T bit_xor(T a, T b) {
  return T(a ^ b);
}

template <class T>
struct Shuffle {
  T value;
  T result;
  std::uint32_t source;  // a lane; the own value if there is no such lane
};

template <class T>
T shuffle(T value, std::uint32_t source, const char* operation, const std::source_location& where) {
  const mslt::msl::host::Combine combine = [](void* const* slots, std::uint32_t lanes) {
    for (std::uint32_t i = 0; i < lanes; ++i) {
      Shuffle<T>& own = slot<Shuffle<T>>(slots, i);
      own.result = own.source < lanes ? slot<Shuffle<T>>(slots, own.source).value : own.value;
    }
  };
  Shuffle<T> own{value, value, source};
  mslt::msl::host::meet_simdgroup(operation, where, &own, combine);
  return own.result;
}

template <class T, bool inclusive>
T prefix_sum(T value, const char* operation, const std::source_location& where) {
  const mslt::msl::host::Combine combine = [](void* const* slots, std::uint32_t lanes) {
    T sum = T(0);
    for (std::uint32_t i = 0; i < lanes; ++i) {
      const T own = slot<T>(slots, i);
      const T next = T(sum + own);
      slot<T>(slots, i) = inclusive ? next : sum;
      sum = next;
    }
  };
  mslt::msl::host::meet_simdgroup(operation, where, &value, combine);
  return value;
}

}  // namespace simd_detail

#define MSLT_SIMD_REDUCTION(name, join)                                              \
  template <class T>                                                                 \
  T name(T x, const std::source_location& where = std::source_location::current()) { \
    return simd_detail::reduce<T, &simd_detail::join<T>>(x, #name, where);           \
  }
MSLT_SIMD_REDUCTION(simd_sum, add)
MSLT_SIMD_REDUCTION(simd_product, multiply)
MSLT_SIMD_REDUCTION(simd_max, larger)
MSLT_SIMD_REDUCTION(simd_min, smaller)
MSLT_SIMD_REDUCTION(simd_and, bit_and)
MSLT_SIMD_REDUCTION(simd_or, bit_or)
MSLT_SIMD_REDUCTION(simd_xor, bit_xor)
#undef MSLT_SIMD_REDUCTION

template <class T>
T simd_shuffle(T x, ushort lane, const std::source_location& where = std::source_location::current()) {
  return simd_detail::shuffle(x, lane, "simd_shuffle", where);
}
template <class T>
T simd_broadcast(T x, ushort lane, const std::source_location& where = std::source_location::current()) {
  return simd_detail::shuffle(x, lane, "simd_broadcast", where);
}
template <class T>
T simd_broadcast_first(T x, const std::source_location& where = std::source_location::current()) {
  return simd_detail::shuffle(x, 0, "simd_broadcast_first", where);
}
template <class T>
T simd_shuffle_xor(T x, ushort mask, const std::source_location& where = std::source_location::current()) {
  return simd_detail::shuffle(x, mslt::msl::host::lane_index() ^ mask, "simd_shuffle_xor", where);
}
// Lanes without a partner keep their own value.
template <class T>
T simd_shuffle_up(T x, ushort delta, const std::source_location& where = std::source_location::current()) {
  return simd_detail::shuffle(x, mslt::msl::host::lane_index() - delta, "simd_shuffle_up", where);
}
template <class T>
T simd_shuffle_down(T x, ushort delta, const std::source_location& where = std::source_location::current()) {
  return simd_detail::shuffle(x, mslt::msl::host::lane_index() + delta, "simd_shuffle_down", where);
}
template <class T>
T simd_prefix_inclusive_sum(T x, const std::source_location& where = std::source_location::current()) {
  return simd_detail::prefix_sum<T, true>(x, "simd_prefix_inclusive_sum", where);
}
template <class T>
T simd_prefix_exclusive_sum(T x, const std::source_location& where = std::source_location::current()) {
  return simd_detail::prefix_sum<T, false>(x, "simd_prefix_exclusive_sum", where);
}

inline bool simd_any(bool x, const std::source_location& where = std::source_location::current()) {
  return simd_detail::reduce<uint, &simd_detail::bit_or<uint>>(x ? 1u : 0u, "simd_any", where) != 0;
}
inline bool simd_all(bool x, const std::source_location& where = std::source_location::current()) {
  return simd_detail::reduce<uint, &simd_detail::bit_and<uint>>(x ? 1u : 0u, "simd_all", where) != 0;
}
inline bool simd_is_first() {
  return mslt::msl::host::lane_index() == 0;
}
struct simd_vote {
  ulong votes;
  explicit operator ulong() const { return votes; }
};
inline simd_vote simd_ballot(bool x, const std::source_location& where = std::source_location::current()) {
  const uint own = x ? 1u << mslt::msl::host::lane_index() : 0u;
  return {simd_detail::reduce<uint, &simd_detail::bit_or<uint>>(own, "simd_ballot", where)};
}

}  // namespace metal
